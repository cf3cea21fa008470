//! Decoding for a verifier: unlike [`corten_metadata::Decoder`] it goes on behind unknown opcodes and does not judge
//! branch targets, because the verifier reports both where and when they matter.

use corten_metadata::{Opcode, OperandKind, Token};

/// One instruction.
pub(super) struct Decoded {
    /// None: no instruction has that code.
    pub opcode: Option<Opcode>,
    pub operand: Operand,
    /// Offset behind it.
    pub next: u32,
}

#[derive(Clone, Copy)]
pub(super) enum Operand {
    None,
    /// Index of an argument or local, or the byte of a prefix.
    Index(u16),
    Token(Token),
    /// Where a branch leads; may lie outside the code.
    Target(i64),
    /// Offset of the first of so many distances, all inside the code.
    Switch(u32, u32),
}

fn bytes<const N: usize>(code: &[u8], at: usize) -> Option<[u8; N]> {
    code.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// The instruction at an offset; none if the code ends inside it.
pub(super) fn decode(code: &[u8], at: u32) -> Option<Decoded> {
    let mut pos = at as usize;
    let first = *code.get(pos)?;
    pos += 1;
    let mut value = u16::from(first);
    if first == 0xfe {
        value = 0xfe00 | u16::from(*code.get(pos)?);
        pos += 1;
    }
    let Some(opcode) = Opcode::from_u16(value) else {
        return Some(Decoded {
            opcode: None,
            operand: Operand::None,
            next: pos as u32,
        });
    };
    let (size, operand) = match opcode.operand_kind() {
        OperandKind::None => (0, Operand::None),
        OperandKind::ShortVar | OperandKind::ShortI => (1, Operand::Index(u16::from(*code.get(pos)?))),
        OperandKind::Var => (2, Operand::Index(u16::from_le_bytes(bytes(code, pos)?))),
        OperandKind::I | OperandKind::ShortR => (bytes::<4>(code, pos)?.len(), Operand::None),
        OperandKind::I8 | OperandKind::R => (bytes::<8>(code, pos)?.len(), Operand::None),
        OperandKind::ShortBranch => {
            let distance = i8::from_le_bytes(bytes(code, pos)?);
            (1, Operand::Target(pos as i64 + 1 + i64::from(distance)))
        }
        OperandKind::Branch => {
            let distance = i32::from_le_bytes(bytes(code, pos)?);
            (4, Operand::Target(pos as i64 + 4 + i64::from(distance)))
        }
        OperandKind::Switch => {
            let count = u32::from_le_bytes(bytes(code, pos)?);
            let size = (count as usize).checked_mul(4)?;
            let start = pos + 4;
            code.get(start..start.checked_add(size)?)?;
            (4 + size, Operand::Switch(start as u32, count))
        }
        OperandKind::Method
        | OperandKind::Field
        | OperandKind::Type
        | OperandKind::Tok
        | OperandKind::Sig
        | OperandKind::String => (4, Operand::Token(Token(u32::from_le_bytes(bytes(code, pos)?)))),
    };
    Some(Decoded {
        opcode: Some(opcode),
        operand,
        next: (pos + size) as u32,
    })
}

/// The targets of a switch.
pub(super) fn switch_targets(code: &[u8], start: u32, count: u32) -> impl Iterator<Item = i64> + '_ {
    let base = i64::from(start) + 4 * i64::from(count);
    (0..count as usize).map_while(move |i| {
        let distance = i32::from_le_bytes(bytes(code, start as usize + 4 * i)?);
        Some(base + i64::from(distance))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_opcodes_are_skipped() {
        let d = decode(&[0xfe, 0x23, 0x2a], 0).unwrap();
        assert!(d.opcode.is_none() && d.next == 2);
        assert!(decode(&[0xfe], 0).is_none());
    }

    #[test]
    fn switches_are_bounded() {
        assert!(decode(&[0x45, 0xff, 0xff, 0xff, 0xff, 0], 0).is_none());
        let code = [0x45, 1, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff];
        let d = decode(&code, 0).unwrap();
        assert_eq!(d.next, 9);
        let Operand::Switch(start, count) = d.operand else {
            panic!()
        };
        assert_eq!(switch_targets(&code, start, count).collect::<Vec<_>>(), [7]);
    }
}
