//! What an indirection cell is to hold, or what must hold for the code that refers to it (`READYTORUN_FIXUP_*`,
//! docs/design/coreclr/botr/readytorun-format.md).

use bitflags::bitflags;
use corten_metadata::{TableId, Token};

use crate::error::{Fault, Result};
use crate::reader::Reader;
use crate::signature::{FieldSig, MethodSig, TypeSig};

/// A fixup.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Fixup {
    /// Index of the module that the tokens belong to, if it is not the image's.
    pub module: Option<u32>,
    /// What is asked for.
    pub what: What,
}

/// What a fixup asks for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum What {
    /// A lookup in the dictionary of the instantiation that shared code runs for; made anew at each use.
    Lookup {
        /// Where the instantiation comes from.
        context: LookupContext,
        /// What to look up.
        what: Box<What>,
    },
    /// MethodTable.
    TypeHandle(TypeSig),
    /// MethodDesc.
    MethodHandle(MethodSig),
    /// FieldDesc.
    FieldHandle(FieldSig),
    /// Code of a method.
    MethodEntry(MethodSig),
    /// Code of the method that the object has in the place of this one.
    VirtualEntry(MethodSig),
    /// A helper of the runtime.
    Helper(Helper),
    /// A string literal (a token of the user strings).
    String(Token),
    /// Allocator of objects of a type.
    NewObject(TypeSig),
    /// Allocator of arrays of a type.
    NewArray(TypeSig),
    /// Cast that yields null.
    IsInstanceOf(TypeSig),
    /// Cast that throws.
    CastClass(TypeSig),
    /// Address of a static field that has one for itself.
    FieldAddress(FieldSig),
    /// Runs the static constructor.
    CctorTrigger(TypeSig),
    /// Statics without references; runs the static constructor.
    StaticBaseNonGc(TypeSig),
    /// Statics with references; runs the static constructor.
    StaticBaseGc(TypeSig),
    /// Thread statics without references; runs the static constructor.
    ThreadStaticBaseNonGc(TypeSig),
    /// Thread statics with references; runs the static constructor.
    ThreadStaticBaseGc(TypeSig),
    /// Where the fields of a class begin, behind those of its bases.
    FieldBaseOffset(TypeSig),
    /// Offset of a field.
    FieldOffset(FieldSig),
    /// Dictionary of an instantiated type.
    TypeDictionary(TypeSig),
    /// Dictionary of an instantiated method.
    MethodDictionary(MethodSig),
    /// Must hold: a value type is laid out like this.
    CheckTypeLayout(TypeLayout),
    /// Must hold: a field is at this offset.
    CheckFieldOffset {
        /// Bytes from the start of the fields.
        offset: u32,
        /// The field.
        field: FieldSig,
    },
    /// Constructor of delegates of a type to a method.
    DelegateConstructor {
        /// The method.
        method: MethodSig,
        /// The delegate type.
        delegate: TypeSig,
    },
    /// MethodTable of the type that declares the method of the object.
    DeclaringTypeHandle(TypeSig),
    /// Address of a cell with the address of a native function.
    IndirectPInvokeTarget(MethodSig),
    /// Address of a native function.
    PInvokeTarget(MethodSig),
    /// Must hold: these instruction sets are there, or are not.
    CheckInstructionSets(Vec<InstructionSet>),
}

/// Where a [`What::Lookup`] finds the instantiation.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum LookupContext {
    /// The class of `this`, as an instance of this type or of one derived from it.
    This(TypeSig),
    /// The MethodTable that is passed.
    Type,
    /// The instantiated method that is passed.
    Method,
}

/// A demand for an instruction set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct InstructionSet {
    /// `ReadyToRunInstructionSet`.
    pub id: u32,
    /// Must be there; otherwise must not be there.
    pub required: bool,
}

bitflags! {
    /// `ReadyToRunTypeLayoutFlags`.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct LayoutFlags: u32 {
        /// A homogeneous aggregate of floats; its element type follows.
        const HFA = 0x01;
        /// The alignment matters.
        const ALIGNMENT = 0x02;
        /// The alignment is that of a pointer, and does not follow.
        const ALIGNMENT_NATIVE = 0x04;
        /// The references matter.
        const GC_LAYOUT = 0x08;
        /// There are no references, and no map follows.
        const GC_LAYOUT_EMPTY = 0x10;
    }
}

/// How a value type was laid out when the code was compiled.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TypeLayout {
    /// The type.
    pub value_type: TypeSig,
    /// What is known.
    pub flags: LayoutFlags,
    /// Bytes.
    pub size: u32,
    /// Element type of a homogeneous aggregate.
    pub hfa_element: Option<u32>,
    /// Bytes, where it matters and is not that of a pointer.
    pub alignment: Option<u32>,
    /// A bit for each word: whether it is a reference. Empty if there are none, or if they do not matter.
    pub references: Vec<u8>,
}

/// A helper of the runtime (`READYTORUN_HELPER_*`, `inc/readytorun.h`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Helper(pub u32);

impl Helper {
    /// Its name in CoreCLR, if it is one that framework images use.
    pub fn name(self) -> Option<&'static str> {
        HELPERS.iter().find(|(id, _)| *id == self.0).map(|(_, name)| *name)
    }
}

const HELPERS: &[(u32, &str)] = &[
    (0x01, "Module"),
    (0x02, "GSCookie"),
    (0x03, "IndirectTrapThreads"),
    (0x08, "DelayLoad_MethodCall"),
    (0x10, "DelayLoad_Helper"),
    (0x11, "DelayLoad_Helper_Obj"),
    (0x12, "DelayLoad_Helper_ObjObj"),
    (0x20, "Throw"),
    (0x21, "Rethrow"),
    (0x22, "Overflow"),
    (0x23, "RngChkFail"),
    (0x24, "FailFast"),
    (0x25, "ThrowNullRef"),
    (0x26, "ThrowDivZero"),
    (0x30, "WriteBarrier"),
    (0x31, "CheckedWriteBarrier"),
    (0x32, "ByRefWriteBarrier"),
    (0x33, "BulkWriteBarrier"),
    (0x38, "Stelem_Ref"),
    (0x39, "Ldelema_Ref"),
    (0x3E, "MemZero"),
    (0x3F, "MemSet"),
    (0x40, "NativeMemSet"),
    (0x41, "MemCpy"),
    (0x42, "PInvokeBegin"),
    (0x43, "PInvokeEnd"),
    (0x44, "GCPoll"),
    (0x45, "ReversePInvokeEnter"),
    (0x46, "ReversePInvokeExit"),
    (0x54, "GetRuntimeTypeHandle"),
    (0x55, "GetRuntimeMethodHandle"),
    (0x56, "GetRuntimeFieldHandle"),
    (0x58, "Box"),
    (0x59, "Box_Nullable"),
    (0x5A, "Unbox"),
    (0x5B, "Unbox_Nullable"),
    (0x5C, "NewMultiDimArr"),
    (0x5D, "Unbox_TypeTest"),
    (0x60, "NewObject"),
    (0x61, "NewArray"),
    (0x62, "CheckCastAny"),
    (0x63, "CheckInstanceAny"),
    (0x64, "GenericGcStaticBase"),
    (0x65, "GenericNonGcStaticBase"),
    (0x66, "GenericGcTlsBase"),
    (0x67, "GenericNonGcTlsBase"),
    (0x68, "VirtualFuncPtr"),
    (0x69, "IsInstanceOfException"),
    (0x6A, "NewMaybeFrozenArray"),
    (0x6B, "NewMaybeFrozenObject"),
    (0xD1, "Dbl2IntOvf"),
    (0xD3, "Dbl2LngOvf"),
    (0xD5, "Dbl2UIntOvf"),
    (0xD6, "Dbl2ULng"),
    (0xD7, "Dbl2ULngOvf"),
    (0xE0, "DblRem"),
    (0xE1, "FltRem"),
    (0xF0, "PersonalityRoutine"),
    (0xF1, "PersonalityRoutineFilterFunclet"),
    (0xF8, "MonitorEnter"),
    (0xF9, "MonitorExit"),
    (0x111, "StackProbe"),
    (0x112, "GetCurrentManagedThreadId"),
];

/// Bit of the kind: the index of a module follows.
const MODULE_OVERRIDE: u8 = 0x80;
const POINTER_SIZE: u32 = 8;

impl Fixup {
    /// Reads a fixup at the cursor.
    ///
    /// # Errors
    /// The data ends too soon, or asks for something that is not known here.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let at = *reader;
        let kind = reader.u8()?;
        let module = if kind & MODULE_OVERRIDE != 0 {
            Some(reader.compressed()?)
        } else {
            None
        };
        let what = What::read(at, kind & !MODULE_OVERRIDE, reader, true)?;
        Ok(Self { module, what })
    }
}

impl What {
    fn read(at: Reader<'_>, kind: u8, reader: &mut Reader<'_>, lookups: bool) -> Result<Self> {
        let r = reader;
        Ok(match kind {
            0x07..=0x09 if lookups => {
                let context = match kind {
                    0x07 => LookupContext::This(TypeSig::read(r)?),
                    0x08 => LookupContext::Type,
                    _ => LookupContext::Method,
                };
                let at = *r;
                let kind = r.u8()?;
                Self::Lookup {
                    context,
                    what: Box::new(Self::read(at, kind, r, false)?),
                }
            }
            0x10 => Self::TypeHandle(TypeSig::read(r)?),
            0x11 => Self::MethodHandle(MethodSig::read(r)?),
            0x12 => Self::FieldHandle(FieldSig::read(r)?),
            0x13 => Self::MethodEntry(MethodSig::read(r)?),
            0x14 => Self::MethodEntry(MethodSig::of_token(Token::new(TableId::MethodDef, r.compressed()?))),
            0x15 => Self::MethodEntry(MethodSig::of_token(Token::new(TableId::MemberRef, r.compressed()?))),
            0x16 => Self::VirtualEntry(MethodSig::read(r)?),
            0x17 => Self::VirtualEntry(MethodSig::of_token(Token::new(TableId::MethodDef, r.compressed()?))),
            0x18 => Self::VirtualEntry(MethodSig::of_token(Token::new(TableId::MemberRef, r.compressed()?))),
            0x1A => Self::Helper(Helper(r.compressed()?)),
            0x1B => Self::String(Token(USER_STRING | r.compressed()?)),
            0x1C => Self::NewObject(TypeSig::read(r)?),
            0x1D => Self::NewArray(TypeSig::read(r)?),
            0x1E => Self::IsInstanceOf(TypeSig::read(r)?),
            0x1F => Self::CastClass(TypeSig::read(r)?),
            0x20 => Self::FieldAddress(FieldSig::read(r)?),
            0x21 => Self::CctorTrigger(TypeSig::read(r)?),
            0x22 => Self::StaticBaseNonGc(TypeSig::read(r)?),
            0x23 => Self::StaticBaseGc(TypeSig::read(r)?),
            0x24 => Self::ThreadStaticBaseNonGc(TypeSig::read(r)?),
            0x25 => Self::ThreadStaticBaseGc(TypeSig::read(r)?),
            0x26 => Self::FieldBaseOffset(TypeSig::read(r)?),
            0x27 => Self::FieldOffset(FieldSig::read(r)?),
            0x28 => Self::TypeDictionary(TypeSig::read(r)?),
            0x29 => Self::MethodDictionary(MethodSig::read(r)?),
            0x2A => Self::CheckTypeLayout(TypeLayout::read(r)?),
            0x2B => Self::CheckFieldOffset {
                offset: r.compressed()?,
                field: FieldSig::read(r)?,
            },
            0x2C => Self::DelegateConstructor {
                method: MethodSig::read(r)?,
                delegate: TypeSig::read(r)?,
            },
            0x2D => Self::DeclaringTypeHandle(TypeSig::read(r)?),
            0x2E => Self::IndirectPInvokeTarget(MethodSig::read(r)?),
            0x2F => Self::PInvokeTarget(MethodSig::read(r)?),
            0x30 => {
                let count = r.compressed()?;
                let mut sets = Vec::new();
                for _ in 0..count {
                    let number = r.compressed()?;
                    sets.push(InstructionSet {
                        id: number >> 1,
                        required: number & 1 != 0,
                    });
                }
                Self::CheckInstructionSets(sets)
            }
            other => return Err(at.error(Fault::Value(other.into()))),
        })
    }
}

/// Table number of user strings in tokens.
const USER_STRING: u32 = 0x7000_0000;

impl TypeLayout {
    fn read(r: &mut Reader<'_>) -> Result<Self> {
        let value_type = TypeSig::read(r)?;
        let at = *r;
        let bits = r.compressed()?;
        let flags = LayoutFlags::from_bits(bits).ok_or_else(|| at.error(Fault::Value(bits)))?;
        let size = r.compressed()?;
        let hfa_element = if flags.contains(LayoutFlags::HFA) {
            Some(r.compressed()?)
        } else {
            None
        };
        let alignment = if flags.contains(LayoutFlags::ALIGNMENT) && !flags.contains(LayoutFlags::ALIGNMENT_NATIVE) {
            Some(r.compressed()?)
        } else {
            None
        };
        let references = if flags.contains(LayoutFlags::GC_LAYOUT) && !flags.contains(LayoutFlags::GC_LAYOUT_EMPTY) {
            let words = size.div_ceil(POINTER_SIZE);
            r.slice(words.div_ceil(8) as usize)?.to_vec()
        } else {
            Vec::new()
        };
        Ok(Self {
            value_type,
            flags,
            size,
            hfa_element,
            alignment,
            references,
        })
    }
}
