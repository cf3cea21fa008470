//! Marshalling plans: how each parameter and the result of one native signature travels.

use super::convert;
use super::marshaler::{CharSet, Marshaler, Position, choose};
use super::native_type::{self, NativeType};
use super::{custom, handles, marshal_error};
use crate::error::{ExceptionKind, Raise, VmResult};
use crate::jit_host::type_id;
use corten_jit::host_api::WellKnownType;
use corten_jit::ids::TypeId;
use corten_loader::{ElementType, MethodDesc, TypeHandle};
use corten_metadata::attribute::{AttributeValue, EnumRef, Primitive};
use corten_metadata::{CallingConvention, MethodImplAttributes, PInvokeAttributes, ParamAttributes, TableId, Token};

/// Way of one parameter into native code.
#[derive(Debug)]
pub enum Pass {
    /// The same value.
    Direct,
    /// `bool` as an integer, in the stub itself.
    Bool,
    /// Managed pointer, pinned.
    PinByRef,
    /// Pointer to the first element (or field, or character) of a pinned object, that many bytes after its start.
    PinObject { offset: u32 },
    /// Converted by [`convert`].
    Convert,
}

/// One parameter or the result.
#[derive(Debug)]
pub struct ParamPlan {
    /// Declared managed type (the byref itself, if it is one).
    pub managed: TypeHandle,
    pub marshaler: Marshaler,
    pub byref: bool,
    pub is_in: bool,
    pub is_out: bool,
    pub pass: Pass,
    /// Type of the native argument.
    pub native: TypeId,
    /// Offset of the native argument in the stub's area.
    pub slot: u32,
    /// For byrefs: offset of the native value in the stub's area.
    pub storage: u32,
}

/// A whole signature. Leaked with the stub made from it.
#[derive(Debug)]
pub struct Plan {
    pub params: Vec<ParamPlan>,
    /// `None` for void. With `preserve_sig` false it is a trailing by-reference parameter of the native function.
    pub ret: Option<ParamPlan>,
    pub preserve_sig: bool,
    pub set_last_error: bool,
    /// Bytes of the area (layout in `stubs::marshal`).
    pub area: u32,
    /// Some conversion happens outside the stub itself.
    pub converts: bool,
}

/// Offsets in a stub's area.
pub mod area {
    /// Boxed list of kept SafeHandles, 0 if none.
    pub const KEPT: u32 = 0;
    /// Parameters converted so far.
    pub const DONE: u32 = 8;
    /// Addresses of the managed values: one word per parameter, then the result's.
    pub const VALUES: u32 = 16;
}

impl Plan {
    /// Offset of the word with the address of managed value `i` (the result's is after the last parameter's).
    pub fn value_word(i: usize) -> u32 {
        area::VALUES + 8 * i as u32
    }
    /// Offset of the word with the element count of parameter `i`.
    pub fn count_word(&self, i: usize) -> u32 {
        area::VALUES + 8 * (self.params.len() + 1 + i) as u32
    }
}

/// Which way the calls go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Managed code calls native code.
    Forward,
    /// Native code calls a delegate.
    Reverse,
}

/// Whether the assembly of a method switched the built-in marshalling off.
pub fn marshalling_disabled(md: &'static MethodDesc) -> bool {
    let module = md.module();
    module.is_core_library()
        || module.metadata().has_attribute(
            Token::new(TableId::Assembly, 1),
            "System.Runtime.CompilerServices",
            "DisableRuntimeMarshallingAttribute",
        )
}

struct Settings {
    charset: CharSet,
    preserve_sig: bool,
    set_last_error: bool,
}

fn settings(md: &'static MethodDesc) -> VmResult<Settings> {
    let metadata = md.module().metadata();
    if md.is_pinvoke() {
        let flags = metadata
            .impl_map_of(md.token().rid())
            .map_or(PInvokeAttributes::empty(), |m| m.mapping_flags);
        let unicode = flags & PInvokeAttributes::CHAR_SET_MASK == PInvokeAttributes::CHAR_SET_UNICODE;
        return Ok(Settings {
            charset: if unicode { CharSet::Unicode } else { CharSet::Ansi },
            preserve_sig: md.impl_flags().contains(MethodImplAttributes::PRESERVE_SIG),
            set_last_error: flags.contains(PInvokeAttributes::SUPPORTS_LAST_ERROR),
        });
    }
    let mut s = Settings {
        charset: CharSet::Ansi,
        preserve_sig: true,
        set_last_error: false,
    };
    let attribute = metadata.find_attribute(
        md.owner().class().typedef(),
        "System.Runtime.InteropServices",
        "UnmanagedFunctionPointerAttribute",
    );
    let value = attribute.and_then(|rid| {
        let mut resolve = |which: EnumRef<'_>| metadata.resolve_local_enum(which).or(Some(Primitive::I4));
        metadata.custom_attribute_value(rid, &mut resolve).ok()
    });
    if let Some(value) = &value {
        if let Some(AttributeValue::Enum(_, n)) = value.named("CharSet")
            && let AttributeValue::Int(_, 3) = **n
        {
            s.charset = CharSet::Unicode;
        }
        s.set_last_error = matches!(value.named("SetLastError"), Some(AttributeValue::Boolean(true)));
    }
    Ok(s)
}

struct Declared {
    flags: ParamAttributes,
    spec: Option<NativeType>,
}

/// Attributes of the parameters by sequence number (0 = result).
fn declared(md: &'static MethodDesc, count: usize) -> VmResult<Vec<Declared>> {
    let mut out: Vec<Declared> = (0..=count)
        .map(|_| Declared {
            flags: ParamAttributes::empty(),
            spec: None,
        })
        .collect();
    if md.token().is_nil() {
        return Ok(out);
    }
    let metadata = md.module().metadata();
    let bad = |e: corten_metadata::Error| Raise::new(ExceptionKind::BadImageFormat, e.to_string());
    let params = metadata.method_def(md.token().rid()).map_err(bad)?.param_list;
    for rid in metadata.list_rows(TableId::Param, params) {
        let row = metadata.param(rid).map_err(bad)?;
        if let Some(d) = out.get_mut(usize::from(row.sequence)) {
            d.flags = row.flags;
            if let Some(blob) = metadata.field_marshal_of(Token::new(TableId::Param, rid)) {
                d.spec = Some(native_type::parse(blob)?);
            }
        }
    }
    Ok(out)
}

fn name_parameter(position: usize, e: Raise) -> Raise {
    match e {
        Raise::New {
            kind: ExceptionKind::MarshalDirective | ExceptionKind::Argument,
            message,
            ..
        } => {
            let what = if position == 0 {
                "return value".to_string()
            } else {
                format!("parameter #{position}")
            };
            marshal_error(format!("Cannot marshal '{what}': {}", message.unwrap_or_default()))
        }
        other => other,
    }
}

fn intptr() -> TypeId {
    crate::engine::compiler_host().well_known(WellKnownType::IntPtr)
}

/// Makes the plan of a P/Invoke or of a delegate's `Invoke`.
///
/// # Errors
/// MarshalDirectiveException naming the parameter that has no native form; load errors.
pub fn plan(md: &'static MethodDesc, direction: Direction) -> VmResult<Plan> {
    handles::prepare()?;
    let sig = md.signature()?;
    if sig.calling_convention == CallingConvention::VarArg {
        return Err(Raise::new(
            ExceptionKind::InvalidProgram,
            "Vararg calling convention not supported.",
        ));
    }
    let settings = settings(md)?;
    let declared = declared(md, sig.params.len())?;
    let disabled = marshalling_disabled(md);
    let make = |i: usize, ty: TypeHandle, d: &Declared| {
        custom::in_module(md.module(), || {
            param(ty, d, settings.charset, i == 0, direction, disabled)
        })
        .map_err(|e| name_parameter(i, e))
    };
    let mut params = Vec::with_capacity(sig.params.len());
    for (i, ty) in sig.params.iter().enumerate() {
        params.push(make(i + 1, *ty, &declared[i + 1])?);
    }
    let ret = if sig.ret.is_void() {
        None
    } else if sig.ret.is_byref() {
        let why = super::marshal_error("Invalid managed/unmanaged type combination.");
        return Err(name_parameter(0, why));
    } else {
        Some(make(0, sig.ret, &declared[0])?)
    };
    Ok(lay_out(params, ret, settings.preserve_sig, settings.set_last_error))
}

/// Makes the plan of a `calli` of a native function from code of `md`; `None` if the arguments and the result travel as they
/// are.
///
/// # Errors
/// MarshalDirectiveException naming the parameter that has no native form; load errors.
pub fn plan_call(md: &'static MethodDesc, params: &[TypeHandle], ret: TypeHandle) -> VmResult<Option<Plan>> {
    let is_plain = |t: &TypeHandle| {
        use ElementType as E;
        let kind = t.internal_element_type();
        t.is_void()
            || !matches!(kind, E::Boolean | E::Char)
                && (kind.primitive_size().is_some() || matches!(kind, E::Ptr | E::FnPtr))
    };
    if (params.iter().all(is_plain) && is_plain(&ret)) || marshalling_disabled(md) {
        return Ok(None);
    }
    handles::prepare()?;
    let declared = Declared {
        flags: ParamAttributes::empty(),
        spec: None,
    };
    let make = |i: usize, ty: TypeHandle| {
        param(ty, &declared, CharSet::Ansi, i == 0, Direction::Forward, false).map_err(|e| name_parameter(i, e))
    };
    let mut plans = Vec::with_capacity(params.len());
    for (i, ty) in params.iter().enumerate() {
        plans.push(make(i + 1, *ty)?);
    }
    let ret = if ret.is_void() { None } else { Some(make(0, ret)?) };
    if plans.iter().chain(ret.as_ref()).all(|p| matches!(p.pass, Pass::Direct)) {
        return Ok(None);
    }
    Ok(Some(lay_out(plans, ret, true, false)))
}

/// Gives every native value its place in the area.
fn lay_out(mut params: Vec<ParamPlan>, mut ret: Option<ParamPlan>, preserve_sig: bool, set_last_error: bool) -> Plan {
    let mut next = area::VALUES + 8 * (2 * params.len() as u32 + 2);
    let mut take = |size: u32| {
        let at = next;
        next = (next + size.max(8)).next_multiple_of(8);
        at
    };
    for p in params.iter_mut().chain(ret.as_mut()) {
        p.slot = take(if p.byref { 8 } else { p.marshaler.native_size() });
        p.storage = if p.byref || !preserve_sig {
            take(p.marshaler.native_size())
        } else {
            0
        };
    }
    let converts = params
        .iter()
        .chain(ret.as_ref())
        .any(|p| matches!(p.pass, Pass::Convert))
        || !preserve_sig;
    Plan {
        params,
        ret,
        preserve_sig,
        set_last_error,
        area: next.next_multiple_of(16),
        converts,
    }
}

fn param(
    ty: TypeHandle,
    d: &Declared,
    charset: CharSet,
    is_ret: bool,
    direction: Direction,
    disabled: bool,
) -> VmResult<ParamPlan> {
    let byref = ty.is_byref();
    let value = if byref { ty.element_type().unwrap_or(ty) } else { ty };
    let marshaler = if disabled {
        if value.contains_gc_pointers() {
            return Err(marshal_error(format!(
                "The type '{}' has no native form, because runtime marshalling is disabled for this assembly.",
                value.display_name()
            )));
        }
        Marshaler::Copy {
            ty: value,
            size: value.size_in_field(),
            align: value.align(),
        }
    } else {
        choose(value, d.spec.as_ref(), charset, Position::Parameter)?
    };
    let (flag_in, flag_out) = (
        d.flags.contains(ParamAttributes::IN),
        d.flags.contains(ParamAttributes::OUT),
    );
    let (is_in, is_out) = match (flag_in, flag_out) {
        _ if is_ret => (false, true),
        (false, false) if byref => (true, true),
        (false, false) => (true, matches!(marshaler, Marshaler::StringBuilder { .. })),
        both => both,
    };
    if byref && is_ret && !marshaler.is_blittable() {
        return Err(marshal_error(
            "A managed pointer to a type with a native form of its own cannot be returned.",
        ));
    }
    if is_ret && matches!(marshaler, Marshaler::Array(_)) {
        return Err(marshal_error("Invalid managed/unmanaged type combination."));
    }
    let unsupported = match &marshaler {
        Marshaler::HandleRef { .. } => byref || is_ret || direction == Direction::Reverse,
        Marshaler::LayoutClass(_) => byref && !is_in,
        Marshaler::SafeHandle(_) | Marshaler::CriticalHandle(_) => direction == Direction::Reverse,
        Marshaler::PointerTo { .. } => byref,
        _ => false,
    };
    if unsupported {
        return Err(marshal_error(format!(
            "'{}' is not supported in this position.",
            ty.display_name()
        )));
    }
    let pass = if byref {
        if marshaler.is_blittable() {
            Pass::PinByRef
        } else {
            Pass::Convert
        }
    } else if direction == Direction::Reverse || is_ret {
        match marshaler {
            Marshaler::Copy { .. } => Pass::Direct,
            Marshaler::Bool { .. } => Pass::Bool,
            _ => Pass::Convert,
        }
    } else {
        match &marshaler {
            Marshaler::Copy { .. } => Pass::Direct,
            Marshaler::Bool { .. } => Pass::Bool,
            Marshaler::Text(kind) if convert::can_pin(*kind) => Pass::PinObject { offset: 12 },
            // Arrays of structures are copied, so that what native code writes comes back with [Out] only.
            Marshaler::Array(a) if a.element.is_simple() => Pass::PinObject {
                offset: a.array.base_size() - 8,
            },
            Marshaler::LayoutClass(l) if l.blittable => Pass::PinObject { offset: 8 },
            _ => Pass::Convert,
        }
    };
    let native = if byref { intptr() } else { marshaler.native_type_id() };
    if let Pass::Direct = pass {
        debug_assert_eq!(native, type_id(ty));
    }
    Ok(ParamPlan {
        managed: ty,
        marshaler,
        byref,
        is_in,
        is_out,
        pass,
        native,
        slot: 0,
        storage: 0,
    })
}
