//! Methods whose meaning the compiler supplies: those whose IL body cannot be used (it calls itself or throws), and cheap
//! expansions of hot small ones. Recognised by owner and name.

mod atomics;
mod math;
mod pointers;
mod runtime;
mod simd;
mod types;
mod vectors;
mod x86;

use super::step::Flow;
use super::{Importer, Step};
use crate::host_api::MethodInfo;
use crate::ids::TypeId;
use crate::ir::*;

/// Groups of hardware intrinsics that are answered as unsupported.
const HARDWARE: [&str; 2] = ["System.Runtime.Intrinsics.Arm.", "System.Runtime.Intrinsics.Wasm."];

/// Classes of vectors, of any size.
fn is_vector_class(owner: &str) -> bool {
    is_accelerated(owner) || owner.starts_with("System.Runtime.Intrinsics.")
}

/// Classes of 128-bit vectors: the only ones with operations of the machine.
fn is_accelerated(owner: &str) -> bool {
    matches!(
        owner,
        "System.Runtime.Intrinsics.Vector128"
            | "System.Runtime.Intrinsics.Vector128`1"
            | "System.Numerics.Vector"
            | "System.Numerics.Vector`1"
    )
}

impl Importer<'_, '_> {
    /// Expands a call if the method is an intrinsic: the arguments are still on the stack. `None`: make the call.
    pub fn intrinsic(&mut self, info: &MethodInfo, virtually: bool) -> Step<Option<Flow>> {
        let owner = &*info.owner_name;
        if !owner.starts_with("System.") {
            return Ok(None);
        }
        if let Some(class) = owner.strip_prefix("System.Runtime.Intrinsics.X86.") {
            return self.x86_intrinsic(class, info);
        }
        if HARDWARE.iter().any(|group| owner.starts_with(group)) {
            return self.hardware_intrinsic(info);
        }
        let done = match owner {
            "System.Runtime.CompilerServices.Unsafe" => self.unsafe_intrinsic(info)?,
            "System.Threading.Interlocked" => self.interlocked_intrinsic(info)?,
            "System.Runtime.CompilerServices.RuntimeHelpers" => self.runtime_helpers_intrinsic(info)?,
            "System.Runtime.InteropServices.MemoryMarshal" => self.memory_marshal_intrinsic(info)?,
            "System.Math" | "System.MathF" | "System.Double" | "System.Single" => self.math_intrinsic(info)?,
            _ if info.name.ends_with("get_IsHardwareAccelerated") && is_vector_class(owner) => {
                let accelerated = self.host.cpu().x64_v2 && is_accelerated(owner);
                self.push_bool(accelerated);
                true
            }
            "System.Runtime.Intrinsics.Vector64`1"
            | "System.Runtime.Intrinsics.Vector128`1"
            | "System.Runtime.Intrinsics.Vector256`1"
            | "System.Runtime.Intrinsics.Vector512`1"
            | "System.Numerics.Vector`1"
                if matches!(&*info.name, "get_Count" | "get_IsSupported") =>
            {
                self.vector_type_property(info)?
            }
            "System.ThrowHelper" if info.name.starts_with("ThrowForUnsupported") => self.element_type_check(info)?,
            _ if is_accelerated(owner) && self.host.cpu().x64_v2 && self.options.optional_intrinsics => {
                self.vector_intrinsic(info)?
            }
            "System.Runtime.Intrinsics.Vector64" if self.options.optional_intrinsics => {
                self.half_vector_intrinsic(info)?
            }
            _ if !self.options.optional_intrinsics => false,
            "System.Threading.Volatile" => self.volatile_intrinsic(info)?,
            "System.Numerics.BitOperations" => self.bit_operations_intrinsic(info)?,
            "System.Buffers.Binary.BinaryPrimitives" => self.binary_primitives_intrinsic(info)?,
            "System.BitConverter" => self.bit_converter_intrinsic(info)?,
            "System.Type" => self.type_intrinsic(info)?,
            "System.Object" => self.object_intrinsic(info, virtually),
            "System.String" => self.string_intrinsic(info)?,
            "System.Array" => self.array_intrinsic(info)?,
            "System.Span`1" | "System.ReadOnlySpan`1" => self.span_intrinsic(info)?,
            "System.Nullable`1" => self.nullable_intrinsic(info)?,
            "System.IntPtr" | "System.UIntPtr" if &*info.name == "get_Size" && info.is_static => {
                self.push_int(8);
                true
            }
            "System.Threading.Thread" if &*info.name == "FastPollGC" => {
                self.b.emit_void(Op::SafepointPoll);
                true
            }
            "System.Collections.Generic.EqualityComparer`1" | "System.Collections.Generic.Comparer`1" => {
                self.default_comparer(info)?
            }
            "System.Activator" => self.activator_intrinsic(info)?,
            _ => false,
        };
        Ok(done.then_some(Flow::Next))
    }

    /// Arm and Wasm classes: nothing is supported, so their methods are unreachable or throw.
    pub(super) fn hardware_intrinsic(&mut self, info: &MethodInfo) -> Step<Option<Flow>> {
        if &*info.name == "get_IsSupported" {
            self.push_bool(false);
            return Ok(Some(Flow::Next));
        }
        if !info.is_static || info.is_constructor {
            return Ok(None);
        }
        self.b.raise(Helper::ThrowPlatformNotSupported, Vec::new());
        Ok(Some(Flow::End))
    }

    /// The i-th method type argument.
    fn type_argument(info: &MethodInfo, index: usize) -> Option<TypeId> {
        info.instantiation.get(index).copied()
    }
}
