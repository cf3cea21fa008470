//! Which conversion a parameter, field or array element needs: the rules of .NET's built-in marshalling for Unix (no COM).

use super::custom::CustomMarshaler;
use super::layout::{self, NativeLayout};
use super::marshal_error;
use super::native_type::NativeType;
use super::text::TextKind;
use crate::error::VmResult;
use crate::jit_host::type_id;
use corten_jit::host_api::{TypeKind, WellKnownType};
use corten_jit::ids::TypeId;
use corten_loader::{ElementType, MethodTable, TypeHandle, WellKnown, corelib_type};
use std::sync::OnceLock;

/// Default form of strings and characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CharSet {
    /// UTF-8; `CharSet.Auto` means the same on Unix.
    Ansi,
    Unicode,
}

/// Where the value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Position {
    /// Parameter or return value.
    Parameter,
    Field,
    Element,
}

/// A conversion between a managed and a native value.
#[derive(Debug)]
pub enum Marshaler {
    /// Same bits on both sides (numbers, pointers, blittable structs).
    Copy {
        ty: TypeHandle,
        size: u32,
        align: u32,
    },
    /// `bool` as an integer of 1 or 4 bytes, 0 or 1. (VARIANT_BOOL belongs to COM.)
    Bool {
        width: u32,
    },
    /// `char` as one byte.
    AnsiChar,
    /// String behind a pointer.
    Text(TextKind),
    /// String inside a structure: that many characters with the terminator.
    FixedText {
        wide: bool,
        count: u32,
    },
    StringBuilder {
        wide: bool,
    },
    /// Array inside a structure.
    FixedArray {
        array: &'static MethodTable,
        element: Box<Marshaler>,
        element_size: u32,
        count: u32,
    },
    /// Pointer to the elements.
    Array(ArrayMarshaler),
    /// Value type, or class inside a structure, with a native layout of its own.
    Struct(&'static NativeLayout),
    /// Class with layout inside a structure.
    EmbeddedClass(&'static NativeLayout),
    /// Class with layout behind a pointer.
    LayoutClass(&'static NativeLayout),
    /// Value type behind a pointer (`LPStruct`).
    PointerTo {
        layout: Box<Marshaler>,
    },
    /// Delegate as a function pointer.
    Delegate(&'static MethodTable),
    SafeHandle(&'static MethodTable),
    CriticalHandle(&'static MethodTable),
    /// The handle word of a HandleRef at that offset.
    HandleRef {
        offset: u32,
    },
    /// DateTime as an OLE automation date.
    Date,
    /// Decimal as an integer of ten-thousandths (`Currency`).
    Currency,
    /// A field without a native form: it takes one byte, and a structure with it cannot be converted. The text is the error's.
    Illegal(Box<str>),
    Custom(&'static CustomMarshaler),
}

/// See [`Marshaler::Array`].
#[derive(Debug)]
pub struct ArrayMarshaler {
    pub array: &'static MethodTable,
    pub element: Box<Marshaler>,
    /// Bytes of a managed and of a native element.
    pub managed_size: u32,
    pub native_size: u32,
    pub size_param: Option<u32>,
    pub size_const: Option<u32>,
}

struct Known {
    safe_handle: &'static MethodTable,
    critical_handle: &'static MethodTable,
    string_builder: &'static MethodTable,
    handle_ref: &'static MethodTable,
    date_time: &'static MethodTable,
    guid: &'static MethodTable,
    decimal: &'static MethodTable,
    int128: &'static MethodTable,
    uint128: &'static MethodTable,
}

fn known() -> VmResult<&'static Known> {
    static KNOWN: OnceLock<Known> = OnceLock::new();
    if let Some(k) = KNOWN.get() {
        return Ok(k);
    }
    let interop = "System.Runtime.InteropServices";
    let k = Known {
        safe_handle: corelib_type(interop, "SafeHandle")?,
        critical_handle: corelib_type(interop, "CriticalHandle")?,
        string_builder: corelib_type("System.Text", "StringBuilder")?,
        handle_ref: corelib_type(interop, "HandleRef")?,
        date_time: corelib_type("System", "DateTime")?,
        guid: corelib_type("System", "Guid")?,
        decimal: corelib_type("System", "Decimal")?,
        int128: corelib_type("System", "Int128")?,
        uint128: corelib_type("System", "UInt128")?,
    };
    Ok(KNOWN.get_or_init(|| k))
}

fn text_kind(spec: Option<&NativeType>, charset: CharSet) -> Option<TextKind> {
    Some(match spec {
        None | Some(NativeType::LpTStr) => match charset {
            CharSet::Ansi => TextKind::Utf8,
            CharSet::Unicode => TextKind::Wide,
        },
        Some(NativeType::LpStr | NativeType::LpUtf8Str) => TextKind::Utf8,
        Some(NativeType::LpWStr) => TextKind::Wide,
        Some(NativeType::BStr) => TextKind::BStr,
        Some(NativeType::AnsiBStr) => TextKind::AnsiBStr,
        Some(NativeType::TBStr) => match charset {
            CharSet::Ansi => TextKind::AnsiBStr,
            CharSet::Unicode => TextKind::BStr,
        },
        _ => return None,
    })
}

const COMBINATION: &str = "Invalid managed/unmanaged type combination";

fn bad<T>(why: &str) -> VmResult<T> {
    Err(marshal_error(format!("{COMBINATION} ({why}).")))
}

fn bad_combination<T>(ty: TypeHandle, spec: Option<&NativeType>) -> VmResult<T> {
    let why = match (ty.internal_element_type(), spec) {
        (ElementType::I1 | ElementType::U1, _) => "SByte/Byte must be paired with I1 or U1",
        (ElementType::I2 | ElementType::U2, _) => "Int16/UInt16 must be paired with I2 or U2",
        (ElementType::I4 | ElementType::U4, _) => "Int32/UInt32 must be paired with I4 or U4",
        (ElementType::I8 | ElementType::U8, _) => "Int64/UInt64 must be paired with I8 or U8",
        (ElementType::R4, _) => "Single must be paired with R4",
        (ElementType::R8, _) => "Double must be paired with R8",
        (_, Some(NativeType::Unsupported("Interface" | "IUnknown" | "IDispatch"))) => {
            "Marshaling to and from COM interface pointers isn't supported"
        }
        (_, Some(NativeType::Struct)) if ty.as_method_table() == Some(WellKnown::get().object) => {
            "Marshaling to and from COM VARIANTs isn't supported"
        }
        (_, Some(NativeType::Unsupported(name))) => {
            return Err(marshal_error(format!(
                "{} as UnmanagedType.{name}: COM and Windows types are not supported on this platform.",
                ty.display_name()
            )));
        }
        (_, Some(s)) => return bad(&format!("{} as {s:?}", ty.display_name())),
        (_, None) if ty.as_method_table() == Some(WellKnown::get().object) => {
            "Marshaling to and from COM VARIANTs isn't supported"
        }
        (ElementType::Class | ElementType::Object, None) => {
            "Marshaling to and from COM interface pointers isn't supported"
        }
        (_, None) => return bad(&ty.display_name()),
    };
    bad(why)
}

/// Instantiated types can only be passed if both forms are the same.
fn generic<T>() -> VmResult<T> {
    Err(marshal_error("Non-blittable generic types cannot be marshaled."))
}

/// `Vector64<T>` to `Vector512<T>` and `Vector<T>`, which native conventions pass in registers that P/Invoke does not use.
fn is_vector(mt: &'static MethodTable) -> bool {
    const VECTORS: [&str; 5] = ["Vector64`1", "Vector128`1", "Vector256`1", "Vector512`1", "Vector`1"];
    mt.has_instantiation()
        && mt.class().definition().is_some_and(|d| {
            let namespace = if d.name() == "Vector`1" {
                "System.Numerics"
            } else {
                "System.Runtime.Intrinsics"
            };
            VECTORS.iter().any(|name| d.is_corelib_type(namespace, name))
        })
}

/// Chooses the conversion of a value of type `ty` (never a byref).
///
/// # Errors
/// MarshalDirectiveException for combinations without one, load errors.
pub fn choose(ty: TypeHandle, spec: Option<&NativeType>, charset: CharSet, position: Position) -> VmResult<Marshaler> {
    if let Some(NativeType::Custom { type_name, cookie }) = spec {
        if position == Position::Field {
            return Err(marshal_error(
                "Custom marshalers are only allowed on classes, strings and arrays passed as parameters.",
            ));
        }
        return Ok(Marshaler::Custom(CustomMarshaler::find(type_name, cookie)?));
    }
    let copy = |size: u32| Ok(Marshaler::Copy { ty, size, align: size });
    let plain = |size: u32, allowed: &[NativeType]| match spec {
        None | Some(NativeType::Error | NativeType::SysInt | NativeType::SysUInt) => copy(size),
        Some(s) if allowed.contains(s) => copy(size),
        s => bad_combination(ty, s),
    };
    use NativeType as N;
    match ty.internal_element_type() {
        ElementType::Boolean => match spec {
            None | Some(N::Bool) => Ok(Marshaler::Bool { width: 4 }),
            Some(N::I1 | N::U1) => Ok(Marshaler::Bool { width: 1 }),
            Some(_) => bad("booleans must be paired with I1, U1, or Bool"),
        },
        ElementType::Char => match spec {
            None if charset == CharSet::Ansi => Ok(Marshaler::AnsiChar),
            Some(N::I1 | N::U1) => Ok(Marshaler::AnsiChar),
            None | Some(N::I2 | N::U2) => copy(2),
            s => bad_combination(ty, s),
        },
        ElementType::I1 | ElementType::U1 => plain(1, &[N::I1, N::U1]),
        ElementType::I2 | ElementType::U2 => plain(2, &[N::I2, N::U2]),
        ElementType::I4 | ElementType::U4 => plain(4, &[N::I4, N::U4, N::Bool]),
        ElementType::I8 | ElementType::U8 => plain(8, &[N::I8, N::U8]),
        ElementType::I | ElementType::U => plain(8, &[N::I8, N::U8, N::LpStruct, N::FunctionPtr]),
        ElementType::R4 => plain(4, &[N::R4]),
        ElementType::R8 => plain(8, &[N::R8]),
        ElementType::Ptr | ElementType::FnPtr => copy(8),
        ElementType::ValueType => value_type(ty, spec, position),
        ElementType::SzArray | ElementType::Array => array(ty, spec, charset, position),
        ElementType::String | ElementType::Class | ElementType::Object => class(ty, spec, charset, position),
        _ => bad_combination(ty, spec),
    }
}

fn value_type(ty: TypeHandle, spec: Option<&NativeType>, position: Position) -> VmResult<Marshaler> {
    let Some(mt) = ty.as_method_table() else {
        return bad_combination(ty, spec);
    };
    let k = known()?;
    if mt == k.date_time {
        return Ok(Marshaler::Date);
    }
    let automatic = || marshal_error("Structures marked with [StructLayout(LayoutKind.Auto)] cannot be marshaled.");
    if position == Position::Field && !layout::has_layout(mt) {
        return Err(automatic());
    }
    if (ty.is_nullable() || is_vector(mt)) && position != Position::Field {
        return generic();
    }
    if mt.has_instantiation() && position != Position::Field {
        // Blittable ones are passed as they are.
        return match layout::of(mt) {
            Ok(l) if l.blittable => Ok(Marshaler::Copy {
                ty,
                size: l.size,
                align: l.align,
            }),
            _ => generic(),
        };
    }
    if mt == k.int128 || mt == k.uint128 {
        if position == Position::Field {
            return Ok(Marshaler::Copy {
                ty,
                size: 16,
                align: 16,
            });
        }
        return Err(marshal_error(
            "System.Int128 and System.UInt128 cannot be passed by value to unmanaged.",
        ));
    }
    if mt == k.handle_ref {
        return match (position, mt.find_field("_handle")) {
            (Position::Parameter, Some(f)) => Ok(Marshaler::HandleRef { offset: f.offset() }),
            _ => bad_combination(ty, spec),
        };
    }
    if mt == WellKnown::get().typed_reference {
        return Err(marshal_error("There is no marshaling support for this type."));
    }
    if mt == k.guid || mt == k.decimal {
        let value = Marshaler::Copy {
            ty,
            size: 16,
            align: if mt == k.guid { 4 } else { 8 },
        };
        return match spec {
            None | Some(NativeType::Struct) => Ok(value),
            Some(NativeType::Currency) if mt == k.decimal => Ok(Marshaler::Currency),
            Some(NativeType::LpStruct) => Ok(Marshaler::PointerTo {
                layout: Box::new(value),
            }),
            s => bad_combination(ty, s),
        };
    }
    match spec {
        None | Some(NativeType::Struct) => {}
        s => return bad_combination(ty, s),
    }
    if !layout::has_layout(mt) {
        return Err(automatic());
    }
    let native = layout::of(mt)?;
    if position != Position::Field {
        native.check()?;
    }
    if native.blittable {
        return Ok(Marshaler::Copy {
            ty,
            size: native.size,
            align: native.align,
        });
    }
    Ok(Marshaler::Struct(native))
}

fn array(ty: TypeHandle, spec: Option<&NativeType>, charset: CharSet, position: Position) -> VmResult<Marshaler> {
    let (Some(array), Some(element_type)) = (ty.as_method_table(), ty.element_type()) else {
        return bad_combination(ty, spec);
    };
    if element_type.is_array() {
        return Err(marshal_error("There is no marshaling support for nested arrays."));
    }
    let element_spec = match spec {
        Some(NativeType::ByValArray { element, .. } | NativeType::LpArray { element, .. }) => element.as_deref(),
        _ => None,
    };
    let nested = |position| choose(element_type, element_spec, charset, position);
    match (position, spec) {
        (Position::Field, Some(NativeType::ByValArray { count, .. })) => {
            let element = match nested(Position::Field)? {
                // `char[]` follows the character set of the structure; other elements are converted like fields.
                m @ (Marshaler::Copy { .. }
                | Marshaler::Bool { .. }
                | Marshaler::AnsiChar
                | Marshaler::Struct(_)
                | Marshaler::Text(_)) => m,
                _ => return bad_combination(ty, spec),
            };
            Ok(Marshaler::FixedArray {
                array,
                element: Box::new(element),
                element_size: element_type.size_in_field(),
                count: *count,
            })
        }
        (Position::Parameter, None | Some(NativeType::LpArray { .. })) => {
            if element_type.as_method_table() == Some(WellKnown::get().object) {
                return Err(marshal_error("Signature is not Interop compatible."));
            }
            let element = nested(Position::Element)?;
            if !matches!(
                element,
                Marshaler::Copy { .. }
                    | Marshaler::Bool { .. }
                    | Marshaler::AnsiChar
                    | Marshaler::Struct(_)
                    | Marshaler::Text(_)
                    | Marshaler::Date
            ) {
                return bad_combination(ty, spec);
            }
            let (size_param, size_const) = match spec {
                Some(NativeType::LpArray {
                    size_param, size_const, ..
                }) => (*size_param, *size_const),
                _ => (None, None),
            };
            let native_size = element.native_size();
            Ok(Marshaler::Array(ArrayMarshaler {
                array,
                element: Box::new(element),
                managed_size: element_type.size_in_field(),
                native_size,
                size_param,
                size_const,
            }))
        }
        (Position::Field, _) => bad("Array fields must be paired with ByValArray"),
        _ => bad("Arrays can only be marshaled as LPArray or ByValArray"),
    }
}

fn class(ty: TypeHandle, spec: Option<&NativeType>, charset: CharSet, position: Position) -> VmResult<Marshaler> {
    let Some(mt) = ty.as_method_table() else {
        return bad_combination(ty, spec);
    };
    let k = known()?;
    if mt.has_instantiation() {
        return generic();
    }
    if mt.is_string() {
        if position == Position::Field
            && let Some(NativeType::ByValTStr { count }) = spec
        {
            return Ok(Marshaler::FixedText {
                wide: charset == CharSet::Unicode,
                count: *count,
            });
        }
        return match text_kind(spec, charset) {
            Some(kind) => Ok(Marshaler::Text(kind)),
            None if position == Position::Field => {
                bad("String fields must be paired with LPStr, LPTStr, LPWStr, BStr, or ByValTStr")
            }
            None => bad("String parameters and return types must be paired with LPStr, LPWStr, or LPTStr"),
        };
    }
    if mt == k.string_builder && position == Position::Field {
        return Err(marshal_error(
            "Struct or class fields cannot be of type StringBuilder. The same effect can usually be achieved by using a String field and preinitializing it to a string with length matching the length of the appropriate buffer.",
        ));
    }
    if mt == k.string_builder {
        let wide = match text_kind(spec, charset) {
            Some(TextKind::Wide) => true,
            Some(TextKind::Utf8) => false,
            _ => return bad_combination(ty, spec),
        };
        return if position == Position::Parameter {
            Ok(Marshaler::StringBuilder { wide })
        } else {
            bad_combination(ty, spec)
        };
    }
    let delegate_base = mt == WellKnown::get().delegate || mt == WellKnown::get().multicast_delegate;
    if ty.is_delegate() || delegate_base {
        return match spec {
            None | Some(NativeType::FunctionPtr) => Ok(Marshaler::Delegate(mt)),
            s => bad_combination(ty, s),
        };
    }
    if mt.is_or_derives_from(k.safe_handle) {
        return if spec.is_none() && position != Position::Element {
            Ok(Marshaler::SafeHandle(mt))
        } else {
            bad_combination(ty, spec)
        };
    }
    if mt.is_or_derives_from(k.critical_handle) {
        return if spec.is_none() && position != Position::Element {
            Ok(Marshaler::CriticalHandle(mt))
        } else {
            bad_combination(ty, spec)
        };
    }
    if layout::has_layout(mt) {
        match (position, spec) {
            (Position::Parameter, None | Some(NativeType::LpStruct | NativeType::Struct)) => {
                let native = layout::of(mt)?;
                native.check()?;
                return Ok(Marshaler::LayoutClass(native));
            }
            (Position::Field, None | Some(NativeType::Struct)) => return Ok(Marshaler::EmbeddedClass(layout::of(mt)?)),
            _ => {}
        }
    }
    bad_combination(ty, spec)
}

fn well_known(w: WellKnownType) -> TypeId {
    crate::engine::compiler_host().well_known(w)
}

impl Marshaler {
    /// Bytes of the native form in a structure or argument.
    pub fn native_size(&self) -> u32 {
        match self {
            Marshaler::Copy { size, .. } => *size,
            Marshaler::Bool { width, .. } => *width,
            Marshaler::AnsiChar | Marshaler::Illegal(_) => 1,
            Marshaler::FixedText { wide, count } => count * if *wide { 2 } else { 1 },
            Marshaler::FixedArray { element, count, .. } => element.native_size().saturating_mul(*count),
            Marshaler::Struct(l) | Marshaler::EmbeddedClass(l) => l.size,
            _ => 8,
        }
    }

    /// Alignment of the native form.
    pub fn native_align(&self) -> u32 {
        match self {
            Marshaler::Copy { align, .. } => *align,
            Marshaler::Bool { width, .. } => *width,
            Marshaler::AnsiChar | Marshaler::Illegal(_) => 1,
            Marshaler::FixedText { wide, .. } => {
                if *wide {
                    2
                } else {
                    1
                }
            }
            Marshaler::FixedArray { element, .. } => element.native_align(),
            Marshaler::Struct(l) | Marshaler::EmbeddedClass(l) => l.align,
            _ => 8,
        }
    }

    /// The type that the compiler sees in place of the native form.
    pub fn native_type_id(&self) -> TypeId {
        match self {
            Marshaler::Copy { ty, .. } => type_id(*ty),
            Marshaler::Bool { width: 1 } | Marshaler::AnsiChar => well_known(WellKnownType::Byte),
            Marshaler::Bool { .. } => well_known(WellKnownType::Int32),
            Marshaler::Struct(l) | Marshaler::EmbeddedClass(l) => l.type_id(),
            Marshaler::Date => well_known(WellKnownType::Double),
            Marshaler::Currency => well_known(WellKnownType::Int64),
            _ => well_known(WellKnownType::IntPtr),
        }
    }

    /// Whether managed and native form are the same bits.
    pub fn is_blittable(&self) -> bool {
        matches!(self, Marshaler::Copy { .. })
    }

    /// Whether managed and native form are the same number, character or address.
    pub fn is_simple(&self) -> bool {
        match self {
            Marshaler::Copy { ty, .. } => ty.is_enum() || ty.cor_element_type() != ElementType::ValueType,
            _ => false,
        }
    }

    /// Appends the primitive pieces of the native form at `offset`, for the calling convention.
    pub fn flatten(&self, offset: u32, out: &mut Vec<(u32, TypeKind)>) -> VmResult<()> {
        let kind = match self {
            Marshaler::Copy { ty, .. } => {
                let info = crate::engine::compiler_host()
                    .type_info(type_id(*ty))
                    .map_err(crate::stubs::host_error)?;
                if info.kind == TypeKind::Struct {
                    out.extend(info.fields.iter().map(|f| (offset + f.offset, f.kind)));
                    return Ok(());
                }
                info.kind
            }
            Marshaler::Bool { width: 1 } | Marshaler::AnsiChar | Marshaler::Illegal(_) => TypeKind::U1,
            Marshaler::Bool { .. } => TypeKind::I4,
            Marshaler::FixedText { wide, count } => {
                let (kind, size) = if *wide { (TypeKind::U2, 2) } else { (TypeKind::U1, 1) };
                out.extend((0..*count).map(|i| (offset + i * size, kind)));
                return Ok(());
            }
            Marshaler::FixedArray { element, count, .. } => {
                for i in 0..*count {
                    element.flatten(offset + i * element.native_size(), out)?;
                }
                return Ok(());
            }
            Marshaler::Struct(l) | Marshaler::EmbeddedClass(l) => {
                for f in &l.fields {
                    f.marshaler.flatten(offset + f.native_offset, out)?;
                }
                return Ok(());
            }
            Marshaler::Date => TypeKind::R8,
            Marshaler::Currency => TypeKind::I8,
            _ => TypeKind::NInt,
        };
        out.push((offset, kind));
        Ok(())
    }
}
