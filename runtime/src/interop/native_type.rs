//! Marshalling descriptors: the native type blobs behind `[MarshalAs]` (ECMA-335 II.23.4 and the codes .NET adds).

use super::marshal_error;
use crate::error::VmResult;

/// What a descriptor asks for. Names follow `System.Runtime.InteropServices.UnmanagedType`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NativeType {
    Bool,
    VariantBool,
    I1,
    U1,
    I2,
    U2,
    I4,
    U4,
    I8,
    U8,
    R4,
    R8,
    Currency,
    SysInt,
    SysUInt,
    BStr,
    AnsiBStr,
    TBStr,
    LpStr,
    LpWStr,
    LpTStr,
    LpUtf8Str,
    /// Characters inside the structure, with the terminator.
    ByValTStr {
        count: u32,
    },
    /// Elements inside the structure.
    ByValArray {
        count: u32,
        element: Option<Box<NativeType>>,
    },
    LpArray {
        element: Option<Box<NativeType>>,
        /// Zero-based parameter that holds the number of elements.
        size_param: Option<u32>,
        /// Number of elements, or to be added to the one above.
        size_const: Option<u32>,
    },
    Struct,
    LpStruct,
    FunctionPtr,
    /// HRESULT.
    Error,
    Custom {
        type_name: String,
        cookie: String,
    },
    /// Known by name only: COM and Windows types.
    Unsupported(&'static str),
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&b, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(b)
    }
    fn number(&mut self) -> Option<u32> {
        let first = self.byte()?;
        let (mut value, more) = match first {
            0..=0x7F => (u32::from(first), 0),
            0x80..=0xBF => (u32::from(first & 0x3F), 1),
            0xC0..=0xDF => (u32::from(first & 0x1F), 3),
            _ => return None,
        };
        for _ in 0..more {
            value = value << 8 | u32::from(self.byte()?);
        }
        Some(value)
    }
    fn text(&mut self) -> Option<String> {
        let length = self.number()? as usize;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(String::from_utf8_lossy(text).into_owned())
    }
    fn element(&mut self) -> Option<Box<NativeType>> {
        match self.0.first() {
            None | Some(0x50) => {
                let _ = self.byte();
                None
            }
            Some(_) => self.native().map(Box::new),
        }
    }
    fn native(&mut self) -> Option<NativeType> {
        Some(match self.byte()? {
            0x02 => NativeType::Bool,
            0x03 => NativeType::I1,
            0x04 => NativeType::U1,
            0x05 => NativeType::I2,
            0x06 => NativeType::U2,
            0x07 => NativeType::I4,
            0x08 => NativeType::U4,
            0x09 => NativeType::I8,
            0x0A => NativeType::U8,
            0x0B => NativeType::R4,
            0x0C => NativeType::R8,
            0x0F => NativeType::Currency,
            0x13 => NativeType::BStr,
            0x14 => NativeType::LpStr,
            0x15 => NativeType::LpWStr,
            0x16 => NativeType::LpTStr,
            0x17 => NativeType::ByValTStr { count: self.number()? },
            0x19 => NativeType::Unsupported("IUnknown"),
            0x1A => NativeType::Unsupported("IDispatch"),
            0x1B => NativeType::Struct,
            0x1C => NativeType::Unsupported("Interface"),
            0x1D => NativeType::Unsupported("SafeArray"),
            0x1E => {
                let count = self.number().unwrap_or(1);
                NativeType::ByValArray {
                    count,
                    element: self.element(),
                }
            }
            0x1F => NativeType::SysInt,
            0x20 => NativeType::SysUInt,
            0x22 => NativeType::Unsupported("VBByRefStr"),
            0x23 => NativeType::AnsiBStr,
            0x24 => NativeType::TBStr,
            0x25 => NativeType::VariantBool,
            0x26 => NativeType::FunctionPtr,
            0x28 => NativeType::Unsupported("AsAny"),
            0x2A => {
                let element = self.element();
                let param = self.number();
                let size = self.number();
                // The flags word tells whether the parameter index was given; old compilers leave it out.
                let has_param = self.number().is_none_or(|flags| flags & 1 != 0);
                NativeType::LpArray {
                    element,
                    size_param: param.filter(|_| has_param),
                    size_const: size,
                }
            }
            0x2B => NativeType::LpStruct,
            0x2C => {
                let _guid = self.text()?;
                let _native_name = self.text()?;
                NativeType::Custom {
                    type_name: self.text()?,
                    cookie: self.text()?,
                }
            }
            0x2D => NativeType::Error,
            0x2E => NativeType::Unsupported("IInspectable"),
            0x2F => NativeType::Unsupported("HString"),
            0x30 => NativeType::LpUtf8Str,
            _ => return None,
        })
    }
}

/// Parses a FieldMarshal blob.
///
/// # Errors
/// MarshalDirectiveException if it is malformed.
pub fn parse(blob: &[u8]) -> VmResult<NativeType> {
    Reader(blob)
        .native()
        .ok_or_else(|| marshal_error("Invalid marshalling descriptor."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_of_the_compiler_parse() {
        assert_eq!(parse(&[0x14]).unwrap(), NativeType::LpStr);
        assert_eq!(parse(&[0x17, 8]).unwrap(), NativeType::ByValTStr { count: 8 });
        assert_eq!(
            parse(&[0x1E, 6]).unwrap(),
            NativeType::ByValArray {
                count: 6,
                element: None
            }
        );
        assert_eq!(
            parse(&[0x2A, 0x14, 1, 0, 1]).unwrap(),
            NativeType::LpArray {
                element: Some(Box::new(NativeType::LpStr)),
                size_param: Some(1),
                size_const: Some(0)
            }
        );
        assert_eq!(
            parse(&[0x2A, 0x50]).unwrap(),
            NativeType::LpArray {
                element: None,
                size_param: None,
                size_const: None
            }
        );
        let custom = [&[0x2C, 0, 0, 3][..], b"A,B", &[1], b"c"].concat();
        assert_eq!(
            parse(&custom).unwrap(),
            NativeType::Custom {
                type_name: "A,B".into(),
                cookie: "c".into()
            }
        );
        assert!(parse(&[]).is_err());
        assert!(parse(&[0x17]).is_err());
    }
}
