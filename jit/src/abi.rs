//! The managed and native calling convention of x86-64 Unix: where each argument and result travels.
//!
//! System V x86-64 psABI 3.2.3 with CoreCLR's choices (docs/design/coreclr/botr/clr-abi.md): `this` first, then the hidden
//! return buffer, then the arguments; the SIMD vector types, `Int128`/`UInt128` and structs without fields travel in memory; a
//! return buffer's address comes back in `rax`. One description serves code generation and everybody who marshals
//! arguments by hand (reflection, entry thunks, the prestub's argument scan).

use crate::host_api::{CompilerHost, Convention, HostResult, Signature, TypeInfo, TypeKind};
use cranelift_codegen::ir::{self, AbiParam, ArgumentExtension, ArgumentPurpose, types};
use cranelift_codegen::isa::CallConv;
use smallvec::{SmallVec, smallvec};

/// Integer argument registers: rdi, rsi, rdx, rcx, r8, r9.
pub const INT_ARG_REGS: u8 = 6;
/// Vector argument registers: xmm0 to xmm7.
pub const SSE_ARG_REGS: u8 = 8;

/// Register file of an eightbyte.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum RegClass {
    /// General purpose.
    Int,
    /// XMM.
    Sse,
}

/// Where a piece of a value is at a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Place {
    /// Argument: index in rdi, rsi, rdx, rcx, r8, r9. Result: index in rax, rdx.
    Int(u8),
    /// Index in xmm0…
    Sse(u8),
    /// Byte offset in the stack argument area (`rsp` at the call instruction, `rbp + 16` in the callee).
    Stack(u32),
}

/// One register-sized piece of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Piece {
    /// Where it travels.
    pub place: Place,
    /// Byte offset of the piece in the value.
    pub offset: u32,
    /// Meaningful bytes (1 to 8).
    pub size: u8,
    /// For scalars: their kind (extension of small integers, references). `None` for a piece of a struct.
    pub kind: Option<TypeKind>,
    class: RegClass,
}

impl Piece {
    /// Register file it would use.
    pub fn class(&self) -> RegClass {
        self.class
    }

    /// CLIF type of the piece.
    pub(crate) fn clif_type(&self) -> ir::Type {
        match (self.class, self.kind) {
            (RegClass::Int, Some(kind)) => scalar_type(kind),
            (RegClass::Int, None) => types::I64,
            (RegClass::Sse, _) => {
                if self.size <= 4 {
                    types::F32
                } else {
                    types::F64
                }
            }
        }
    }

    fn clif_param(&self) -> AbiParam {
        let mut param = AbiParam::new(self.clif_type());
        param.extension = match self.kind {
            Some(TypeKind::I1 | TypeKind::I2) => ArgumentExtension::Sext,
            Some(TypeKind::U1 | TypeKind::U2) => ArgumentExtension::Uext,
            _ => ArgumentExtension::None,
        };
        param
    }
}

/// Where an argument is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ArgLoc {
    /// In one or two pieces (a scalar piece may be on the stack; pieces of a struct are both in registers).
    Pieces(SmallVec<[Piece; 2]>),
    /// By value in the stack argument area: byte offset and size rounded up to 8.
    Memory {
        /// Offset in the stack argument area.
        stack: u32,
        /// Bytes occupied, a multiple of 8.
        size: u32,
    },
}

/// Where the result is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RetLoc {
    /// No result.
    Void,
    /// In rax/rdx/xmm0/xmm1.
    Pieces(SmallVec<[Piece; 2]>),
    /// Written by the callee into the return buffer; rax = its address.
    Buffer,
}

/// A signature's assignment of registers and stack.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AbiSignature {
    /// `this`, when the signature has one.
    pub this: Option<ArgLoc>,
    /// Register of the hidden return buffer pointer (rdi, or rsi after `this`).
    pub ret_buffer: Option<Place>,
    /// Declared parameters in order.
    pub args: Vec<ArgLoc>,
    /// Result.
    pub ret: RetLoc,
    /// Size of the stack argument area, a multiple of 8.
    pub stack_bytes: u32,
    /// Number of integer argument registers in use.
    pub int_regs: u8,
    /// Number of vector argument registers in use.
    pub sse_regs: u8,
}

/// Integer and float CLIF type of a scalar kind (small integers keep their width).
pub(crate) fn scalar_type(kind: TypeKind) -> ir::Type {
    match kind {
        TypeKind::I1 | TypeKind::U1 => types::I8,
        TypeKind::I2 | TypeKind::U2 => types::I16,
        TypeKind::I4 | TypeKind::U4 => types::I32,
        TypeKind::R4 => types::F32,
        TypeKind::R8 => types::F64,
        _ => types::I64,
    }
}

/// Bytes of a scalar kind.
pub fn scalar_size(kind: TypeKind) -> u32 {
    match kind {
        TypeKind::Void => 0,
        TypeKind::I1 | TypeKind::U1 => 1,
        TypeKind::I2 | TypeKind::U2 => 2,
        TypeKind::I4 | TypeKind::U4 | TypeKind::R4 => 4,
        _ => 8,
    }
}

fn scalar_class(kind: TypeKind) -> RegClass {
    match kind {
        TypeKind::R4 | TypeKind::R8 => RegClass::Sse,
        _ => RegClass::Int,
    }
}

/// Classes of the eightbytes of a struct that may travel in registers; `None` if it travels in memory.
pub fn struct_classes(info: &TypeInfo) -> Option<SmallVec<[RegClass; 2]>> {
    if info.size == 0 || info.size > 16 || info.fields.is_empty() || info.vector_size.is_some() {
        return None;
    }
    if matches!(&*info.name, "System.Int128" | "System.UInt128") {
        return None;
    }
    let count = info.size.div_ceil(8) as usize;
    let mut classes: [Option<RegClass>; 2] = [None, None];
    for field in info.fields.iter() {
        let size = scalar_size(field.kind);
        if size == 0 || field.offset % size != 0 || field.offset + size > info.size {
            return None;
        }
        let slot = &mut classes[(field.offset / 8) as usize];
        let class = scalar_class(field.kind);
        *slot = Some(if *slot == Some(RegClass::Int) {
            RegClass::Int
        } else {
            class
        });
    }
    // An eightbyte of padding only travels as INTEGER.
    Some(classes[..count].iter().map(|c| c.unwrap_or(RegClass::Int)).collect())
}

#[derive(Default)]
struct Assigner {
    int: u8,
    sse: u8,
    stack: u32,
}

impl Assigner {
    fn take(&mut self, class: RegClass) -> Place {
        let (next, limit) = match class {
            RegClass::Int => (&mut self.int, INT_ARG_REGS),
            RegClass::Sse => (&mut self.sse, SSE_ARG_REGS),
        };
        if *next < limit {
            *next += 1;
            match class {
                RegClass::Int => Place::Int(*next - 1),
                RegClass::Sse => Place::Sse(*next - 1),
            }
        } else {
            self.stack += 8;
            Place::Stack(self.stack - 8)
        }
    }

    fn scalar(&mut self, kind: TypeKind) -> ArgLoc {
        let class = scalar_class(kind);
        let place = self.take(class);
        ArgLoc::Pieces(smallvec![Piece {
            place,
            offset: 0,
            size: scalar_size(kind) as u8,
            kind: Some(kind),
            class
        }])
    }

    fn value(&mut self, info: &TypeInfo) -> ArgLoc {
        if info.kind != TypeKind::Struct {
            return self.scalar(info.kind);
        }
        if let Some(classes) = struct_classes(info) {
            let ints = classes.iter().filter(|c| **c == RegClass::Int).count() as u8;
            let sses = classes.len() as u8 - ints;
            if self.int + ints <= INT_ARG_REGS && self.sse + sses <= SSE_ARG_REGS {
                return ArgLoc::Pieces(struct_pieces(info, &classes, |class| self.take(class)));
            }
        }
        let size = info.size.max(1).next_multiple_of(8);
        let stack = self.stack;
        self.stack += size;
        ArgLoc::Memory { stack, size }
    }
}

fn struct_pieces(
    info: &TypeInfo,
    classes: &[RegClass],
    mut take: impl FnMut(RegClass) -> Place,
) -> SmallVec<[Piece; 2]> {
    classes
        .iter()
        .enumerate()
        .map(|(i, &class)| {
            let offset = i as u32 * 8;
            Piece {
                place: take(class),
                offset,
                size: (info.size - offset).min(8) as u8,
                kind: None,
                class,
            }
        })
        .collect()
}

fn return_loc(info: &TypeInfo) -> RetLoc {
    match info.kind {
        TypeKind::Void => RetLoc::Void,
        TypeKind::Struct => match struct_classes(info) {
            Some(classes) => {
                let (mut int, mut sse) = (0, 0);
                RetLoc::Pieces(struct_pieces(info, &classes, |class| match class {
                    RegClass::Int => {
                        int += 1;
                        Place::Int(int - 1)
                    }
                    RegClass::Sse => {
                        sse += 1;
                        Place::Sse(sse - 1)
                    }
                }))
            }
            None => RetLoc::Buffer,
        },
        kind => {
            let class = scalar_class(kind);
            let place = if class == RegClass::Int {
                Place::Int(0)
            } else {
                Place::Sse(0)
            };
            RetLoc::Pieces(smallvec![Piece {
                place,
                offset: 0,
                size: scalar_size(kind) as u8,
                kind: Some(kind),
                class
            }])
        }
    }
}

impl AbiSignature {
    /// The convention of a closed signature; the host describes its types.
    pub fn of(sig: &Signature, host: &dyn CompilerHost) -> HostResult<Self> {
        let ret = host.type_info(sig.ret)?;
        let params = sig
            .params
            .iter()
            .map(|&p| host.type_info(p))
            .collect::<HostResult<Vec<_>>>()?;
        let has_this = sig.has_this && sig.convention == Convention::Managed;
        Ok(Self::from_types(has_this, &ret, params.iter().map(|p| &**p)))
    }

    /// The same from type descriptions.
    pub fn from_types<'t>(has_this: bool, ret: &TypeInfo, params: impl Iterator<Item = &'t TypeInfo>) -> Self {
        let mut next = Assigner::default();
        let this = has_this.then(|| next.scalar(TypeKind::Ref));
        let ret = return_loc(ret);
        let ret_buffer = (ret == RetLoc::Buffer).then(|| next.take(RegClass::Int));
        let args = params.map(|p| next.value(p)).collect();
        AbiSignature {
            this,
            ret_buffer,
            args,
            ret,
            stack_bytes: next.stack,
            int_regs: next.int,
            sse_regs: next.sse,
        }
    }

    /// The CLIF signature that makes Cranelift assign exactly these places.
    pub(crate) fn clif(&self) -> ir::Signature {
        let mut sig = ir::Signature::new(CallConv::SystemV);
        let push = |loc: &ArgLoc, params: &mut Vec<AbiParam>| match loc {
            ArgLoc::Pieces(pieces) => params.extend(pieces.iter().map(Piece::clif_param)),
            ArgLoc::Memory { size, .. } => {
                params.push(AbiParam::special(types::I64, ArgumentPurpose::StructArgument(*size)));
            }
        };
        if let Some(this) = &self.this {
            push(this, &mut sig.params);
        }
        if self.ret_buffer.is_some() {
            // Not `StructReturn`: that would forbid to place it after `this` and to name the result.
            sig.params.push(AbiParam::new(types::I64));
        }
        for arg in &self.args {
            push(arg, &mut sig.params);
        }
        match &self.ret {
            RetLoc::Void => {}
            RetLoc::Pieces(pieces) => sig.returns.extend(pieces.iter().map(Piece::clif_param)),
            RetLoc::Buffer => sig.returns.push(AbiParam::new(types::I64)),
        }
        sig
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host_api::FlatField;
    use crate::ids::TypeId;
    use std::sync::Arc;

    fn info(kind: TypeKind, size: u32, fields: &[(u32, TypeKind)]) -> TypeInfo {
        TypeInfo {
            id: TypeId(1),
            kind,
            size,
            align: 8,
            is_value_type: true,
            fields: fields
                .iter()
                .map(|&(offset, kind)| FlatField { offset, kind })
                .collect(),
            has_gc_pointers: false,
            vector_size: None,
            vectors: Arc::from([]),
            nullable_of: None,
            is_delegate: false,
            is_interface: false,
            is_exact: true,
            name: Arc::from("T"),
            instantiation: Arc::from([]),
            method_table: 0,
        }
    }

    fn classes(size: u32, fields: &[(u32, TypeKind)]) -> Option<Vec<RegClass>> {
        struct_classes(&info(TypeKind::Struct, size, fields)).map(|c| c.to_vec())
    }

    #[test]
    fn eightbytes_merge_as_the_psabi_says() {
        use RegClass::{Int, Sse};
        use TypeKind::{I1, I4, I8, R4, R8, Ref};
        assert_eq!(classes(8, &[(0, R4), (4, I4)]), Some(vec![Int]));
        assert_eq!(classes(8, &[(0, R4), (4, R4)]), Some(vec![Sse]));
        assert_eq!(classes(12, &[(0, R4), (4, R4), (8, R4)]), Some(vec![Sse, Sse]));
        assert_eq!(classes(16, &[(0, R8), (8, Ref)]), Some(vec![Sse, Int]));
        assert_eq!(classes(3, &[(0, I1), (1, I1), (2, I1)]), Some(vec![Int]));
        assert_eq!(classes(24, &[(0, I8), (8, I8), (16, I8)]), None);
        // Unaligned (packed) pieces and structs without fields travel in memory.
        assert_eq!(classes(9, &[(0, I1), (1, I8)]), None);
        assert_eq!(classes(1, &[]), None);
        // A union of double and long.
        assert_eq!(classes(8, &[(0, R8), (0, I8)]), Some(vec![Int]));
    }

    #[test]
    fn struct_that_does_not_fit_goes_to_memory_and_later_ints_use_the_register() {
        let long = info(TypeKind::I8, 8, &[]);
        let pair = info(TypeKind::Struct, 16, &[(0, TypeKind::I8), (8, TypeKind::I8)]);
        let void = info(TypeKind::Void, 0, &[]);
        let params = [&long, &long, &long, &long, &long, &pair, &long, &long];
        let abi = AbiSignature::from_types(false, &void, params.into_iter());
        assert_eq!(abi.args[5], ArgLoc::Memory { stack: 0, size: 16 });
        let ArgLoc::Pieces(p) = &abi.args[6] else { panic!() };
        assert_eq!(p[0].place, Place::Int(5));
        let ArgLoc::Pieces(p) = &abi.args[7] else { panic!() };
        assert_eq!(p[0].place, Place::Stack(16));
        assert_eq!(abi.stack_bytes, 24);
    }

    #[test]
    fn return_buffer_follows_this() {
        let big = info(
            TypeKind::Struct,
            24,
            &[(0, TypeKind::I8), (8, TypeKind::I8), (16, TypeKind::I8)],
        );
        let abi = AbiSignature::from_types(true, &big, [].into_iter());
        assert_eq!(abi.ret_buffer, Some(Place::Int(1)));
        assert_eq!(abi.ret, RetLoc::Buffer);
        let mixed = info(TypeKind::Struct, 16, &[(0, TypeKind::R8), (8, TypeKind::I8)]);
        let abi = AbiSignature::from_types(true, &mixed, [].into_iter());
        let RetLoc::Pieces(p) = &abi.ret else { panic!() };
        assert_eq!((p[0].place, p[1].place), (Place::Sse(0), Place::Int(0)));
    }
}
