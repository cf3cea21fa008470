//! `CorElementType` (ECMA-335 II.23.1.16).

/// Element type codes as they appear in signatures and as managed code sees them.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum ElementType {
    End = 0x00,
    Void = 0x01,
    Boolean = 0x02,
    Char = 0x03,
    I1 = 0x04,
    U1 = 0x05,
    I2 = 0x06,
    U2 = 0x07,
    I4 = 0x08,
    U4 = 0x09,
    I8 = 0x0a,
    U8 = 0x0b,
    R4 = 0x0c,
    R8 = 0x0d,
    String = 0x0e,
    Ptr = 0x0f,
    ByRef = 0x10,
    ValueType = 0x11,
    Class = 0x12,
    Var = 0x13,
    Array = 0x14,
    GenericInst = 0x15,
    TypedByRef = 0x16,
    I = 0x18,
    U = 0x19,
    FnPtr = 0x1b,
    Object = 0x1c,
    SzArray = 0x1d,
    MVar = 0x1e,
}

impl ElementType {
    /// Size in bytes of a primitive (Boolean..R8, I, U, pointers); `None` for everything else.
    pub fn primitive_size(self) -> Option<u32> {
        use ElementType::*;
        Some(match self {
            Boolean | I1 | U1 => 1,
            Char | I2 | U2 => 2,
            I4 | U4 | R4 => 4,
            I8 | U8 | R8 | I | U | Ptr | FnPtr => 8,
            _ => return None,
        })
    }

    /// Whether this is Boolean..R8, I or U: a type whose MethodTable has the "true primitive" category.
    pub fn is_primitive(self) -> bool {
        use ElementType::*;
        matches!(
            self,
            Boolean | Char | I1 | U1 | I2 | U2 | I4 | U4 | I8 | U8 | R4 | R8 | I | U
        )
    }

    /// The CoreLib name (`System.<name>`) of a primitive, void, string, object or typed reference.
    pub fn corelib_name(self) -> Option<&'static str> {
        use ElementType::*;
        Some(match self {
            Void => "Void",
            Boolean => "Boolean",
            Char => "Char",
            I1 => "SByte",
            U1 => "Byte",
            I2 => "Int16",
            U2 => "UInt16",
            I4 => "Int32",
            U4 => "UInt32",
            I8 => "Int64",
            U8 => "UInt64",
            R4 => "Single",
            R8 => "Double",
            String => "String",
            TypedByRef => "TypedReference",
            I => "IntPtr",
            U => "UIntPtr",
            Object => "Object",
            _ => return None,
        })
    }

    /// All elements that [`corelib_name`](Self::corelib_name) knows.
    pub const CORELIB: [ElementType; 18] = {
        use ElementType::*;
        [
            Void, Boolean, Char, I1, U1, I2, U2, I4, U4, I8, U8, R4, R8, String, TypedByRef, I, U, Object,
        ]
    };

    /// The type with the same representation after dropping signedness and meaning (array covariance:
    /// `int[]` is compatible with `uint[]`; ECMA-335 I.8.7.1 reduced type).
    pub fn reduced(self) -> ElementType {
        use ElementType::*;
        match self {
            U1 => I1,
            U2 => I2,
            U4 => I4,
            U8 => I8,
            U => I,
            other => other,
        }
    }
}
