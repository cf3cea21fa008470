//! Decoding of instruction streams.

use super::opcode::{Opcode, OperandKind};
use crate::bytes::{u16_at, u32_at, u64_at};
use crate::token::Token;

/// A decoded instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Offset of its first byte in the code.
    pub offset: u32,
    /// Its length in bytes, operand included.
    pub len: u32,
    /// What it does.
    pub opcode: Opcode,
    /// Its operand.
    pub operand: Operand,
}

impl Instruction {
    /// Offset of the instruction that follows in the code.
    pub fn next_offset(&self) -> u32 {
        self.offset + self.len
    }
}

/// An instruction's operand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// None.
    None,
    /// Signed byte (`ldc.i4.s`).
    I8(i8),
    /// Byte: short index of an argument or local; `unaligned.`, `no.`.
    U8(u8),
    /// Index of an argument or local.
    U16(u16),
    /// 4-byte integer.
    I32(i32),
    /// 8-byte integer.
    I64(i64),
    /// Bits of a 4-byte float.
    F32(u32),
    /// Bits of an 8-byte float.
    F64(u64),
    /// Token of a type, method, field or signature.
    Token(Token),
    /// Token of a user string (0x70xxxxxx).
    String(Token),
    /// Branch target: offset in the code.
    Branch(u32),
    /// Switch targets: offsets in the code.
    Switch(Box<[u32]>),
}

/// A malformed instruction: what, and the offset of its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at IL offset {offset:#x}")]
pub struct IlError {
    /// Offset in the code of the instruction at fault.
    pub offset: u32,
    /// What is wrong.
    pub kind: IlErrorKind,
}

/// What can be wrong with an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IlErrorKind {
    /// The code ends inside the instruction.
    #[error("code ends inside an instruction")]
    End,
    /// No instruction has this code.
    #[error("unknown opcode {0:#x}")]
    Opcode(u16),
    /// A target lies outside the code.
    #[error("branch target {0} is outside the code")]
    Target(i64),
    /// The offset asked for is outside the code.
    #[error("offset is outside the code")]
    Offset,
}

/// Decodes instructions in order. After an error the iterator ends.
///
/// Branch targets are checked to lie inside the code, not to lie on instruction boundaries.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    code: &'a [u8],
    at: usize,
}

impl<'a> Decoder<'a> {
    /// A decoder at the start of `code`.
    pub fn new(code: &'a [u8]) -> Decoder<'a> {
        Decoder { code, at: 0 }
    }

    /// Offset of the next instruction.
    pub fn position(&self) -> u32 {
        self.at as u32
    }

    /// Continues at `offset`.
    pub fn seek(&mut self, offset: u32) {
        self.at = offset as usize;
    }

    /// Decodes the instruction at `offset`. Position does not matter and does not change.
    pub fn decode_at(&self, offset: u32) -> Result<Instruction, IlError> {
        let fail = |kind| Err(IlError { offset, kind });
        let code = self.code;
        let start = offset as usize;
        let Some(first) = code.get(start) else {
            return fail(IlErrorKind::Offset);
        };
        let (value, opcode_len) = if *first == 0xfe {
            match code.get(start + 1) {
                Some(second) => (0xfe00 | u16::from(*second), 2),
                None => return fail(IlErrorKind::End),
            }
        } else {
            (u16::from(*first), 1)
        };
        let Some(opcode) = Opcode::from_u16(value) else {
            return fail(IlErrorKind::Opcode(value));
        };
        let at = start + opcode_len;
        match read_operand(code, opcode, at) {
            Ok((operand, len)) => Ok(Instruction {
                offset,
                len: (opcode_len + len) as u32,
                opcode,
                operand,
            }),
            Err(kind) => fail(kind),
        }
    }
}

fn read_operand(code: &[u8], opcode: Opcode, at: usize) -> Result<(Operand, usize), IlErrorKind> {
    let byte = || code.get(at).copied().ok_or(IlErrorKind::End);
    let word = || u32_at(code, at).ok_or(IlErrorKind::End);
    let long = || u64_at(code, at).ok_or(IlErrorKind::End);
    let target = |from: usize, distance: i64| {
        let t = from as i64 + distance;
        if (0..code.len() as i64).contains(&t) {
            Ok(t as u32)
        } else {
            Err(IlErrorKind::Target(t))
        }
    };
    Ok(match opcode.operand_kind() {
        OperandKind::None => (Operand::None, 0),
        OperandKind::ShortI if opcode == Opcode::LdcI4S => (Operand::I8(byte()? as i8), 1),
        OperandKind::ShortVar | OperandKind::ShortI => (Operand::U8(byte()?), 1),
        OperandKind::Var => (Operand::U16(u16_at(code, at).ok_or(IlErrorKind::End)?), 2),
        OperandKind::I => (Operand::I32(word()? as i32), 4),
        OperandKind::I8 => (Operand::I64(long()? as i64), 8),
        OperandKind::ShortR => (Operand::F32(word()?), 4),
        OperandKind::R => (Operand::F64(long()?), 8),
        OperandKind::ShortBranch => (Operand::Branch(target(at + 1, i64::from(byte()? as i8))?), 1),
        OperandKind::Branch => (Operand::Branch(target(at + 4, i64::from(word()? as i32))?), 4),
        OperandKind::Switch => {
            let count = word()? as usize;
            let table = code.get(at + 4..).and_then(|rest| rest.get(..count.checked_mul(4)?));
            let table = table.ok_or(IlErrorKind::End)?;
            let len = 4 + table.len();
            let distances = table
                .chunks_exact(4)
                .map(|c| i32::from_le_bytes([c[0], c[1], c[2], c[3]]));
            let targets = distances
                .map(|d| target(at + len, i64::from(d)))
                .collect::<Result<_, _>>()?;
            (Operand::Switch(targets), len)
        }
        OperandKind::Method | OperandKind::Field | OperandKind::Type | OperandKind::Tok | OperandKind::Sig => {
            (Operand::Token(Token(word()?)), 4)
        }
        OperandKind::String => (Operand::String(Token(word()?)), 4),
    })
}

impl Iterator for Decoder<'_> {
    type Item = Result<Instruction, IlError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.code.len() {
            return None;
        }
        let result = self.decode_at(self.at as u32);
        self.at = match &result {
            Ok(i) => i.next_offset() as usize,
            Err(_) => self.code.len(),
        };
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(code: &[u8]) -> Vec<Instruction> {
        Decoder::new(code).map(|i| i.unwrap()).collect()
    }

    fn fault(code: &[u8]) -> (u32, IlErrorKind) {
        let e = Decoder::new(code).find_map(|i| i.err()).unwrap();
        (e.offset, e.kind)
    }

    #[test]
    fn operands() {
        let code = [
            0x1f, 0xff, 0x11, 5, 0xfe, 0x0c, 1, 1, 0x72, 1, 0, 0, 0x70, 0x2b, 0xfe, 0x2a,
        ];
        let i = all(&code);
        assert_eq!(i[0].operand, Operand::I8(-1));
        assert_eq!(i[1].operand, Operand::U8(5));
        assert_eq!((i[2].opcode, &i[2].operand), (Opcode::Ldloc, &Operand::U16(0x101)));
        assert_eq!(i[3].operand, Operand::String(Token(0x7000_0001)));
        assert_eq!(i[4].operand, Operand::Branch(13));
        assert_eq!(i[5].opcode, Opcode::Ret);
    }

    #[test]
    fn switch_targets_count_from_its_end() {
        let code = [0x45, 2, 0, 0, 0, 0, 0, 0, 0, 0xf3, 0xff, 0xff, 0xff, 0x2a];
        assert_eq!(all(&code)[0].operand, Operand::Switch([13, 0].into()));
    }

    #[test]
    fn faults() {
        assert_eq!(fault(&[0x24]), (0, IlErrorKind::Opcode(0x24)));
        assert_eq!(fault(&[0x00, 0xfe]), (1, IlErrorKind::End));
        assert_eq!(fault(&[0x20, 1, 2]), (0, IlErrorKind::End));
        assert_eq!(fault(&[0x2b, 0x05]), (0, IlErrorKind::Target(7)));
        assert_eq!(fault(&[0x45, 0xff, 0xff, 0xff, 0xff]), (0, IlErrorKind::End));
        let e = Decoder::new(&[0x00]).decode_at(9).unwrap_err();
        assert_eq!(e.kind, IlErrorKind::Offset);
    }
}
