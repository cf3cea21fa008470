//! Method bodies: header, code, exception clauses (ECMA-335 II.25.4).

use crate::bytes::{range, u16_at, u32_at};
use crate::error::{Error, Fault, Result};
use crate::flags::MethodImplAttributes;
use crate::module::Module;
use crate::token::{TableId, Token};

/// A method body in the image.
#[derive(Clone, Debug)]
pub struct MethodBody<'a> {
    /// Most items on the evaluation stack.
    pub max_stack: u16,
    /// Whether locals start as zero.
    pub init_locals: bool,
    /// StandAloneSig with the types of locals.
    pub local_var_sig: Option<Token>,
    /// The IL.
    pub code: &'a [u8],
    /// Exception clauses, innermost first. All ranges lie inside the code.
    pub clauses: Vec<EhClause>,
}

/// An exception clause (ECMA-335 II.25.4.6). Offsets and lengths are bytes of IL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EhClause {
    /// Kind of handler.
    pub kind: EhKind,
    /// Start of the protected block.
    pub try_offset: u32,
    /// Length of the protected block.
    pub try_length: u32,
    /// Start of the handler.
    pub handler_offset: u32,
    /// Length of the handler.
    pub handler_length: u32,
}

/// Kind of an exception handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EhKind {
    /// Catches exceptions of a type (TypeDef, TypeRef or TypeSpec).
    Catch(Token),
    /// Catches what a filter accepts.
    Filter {
        /// Start of the filter; it ends where the handler starts.
        filter_offset: u32,
    },
    /// Runs whenever the block is left.
    Finally,
    /// Runs when the block is left by an exception.
    Fault,
}

const FAT: u8 = 3;
const TINY: u8 = 2;
const MORE_SECTIONS: u16 = 0x08;
const INIT_LOCALS: u16 = 0x10;
const SECTION_EH: u8 = 0x01;
const SECTION_FAT: u8 = 0x40;
const SECTION_MORE: u8 = 0x80;
const CLAUSE_FAT: usize = 24;
const CLAUSE_SMALL: usize = 12;
/// Stack depth of a body with a tiny header.
const TINY_MAX_STACK: u16 = 8;

pub(crate) fn read(module: &Module, rid: u32) -> Result<Option<MethodBody<'_>>> {
    let row = module.row(TableId::MethodDef, rid)?;
    let rva = row.u32(0);
    if rva == 0 {
        return Ok(None);
    }
    let method = Token::new(TableId::MethodDef, rid);
    let impl_flags = MethodImplAttributes::from_bits_retain(row.u16(1));
    let row_at = module.row_offset(TableId::MethodDef, rid);
    if impl_flags & MethodImplAttributes::CODE_TYPE_MASK != MethodImplAttributes::IL {
        return Err(Error::Unsupported {
            feature: "method body that is not IL",
            offset: row_at as u64,
        });
    }
    let data = module.pe().rva_slice(rva);
    let data = data.ok_or_else(|| {
        Error::bad(
            Fault::Rva {
                what: "method body",
                rva,
            },
            row_at,
        )
    })?;
    let body = parse(data, module.offset_of(data), method)?;
    if let Some(token) = body.local_var_sig {
        check_row(
            module,
            token,
            TableId::StandAloneSig,
            "signature of locals",
            module.offset_of(data),
        )?;
    }
    Ok(Some(body))
}

fn check_row(module: &Module, token: Token, table: TableId, used_as: &'static str, offset: usize) -> Result<()> {
    if token.is(table) && module.has_row(token) {
        return Ok(());
    }
    Err(Error::bad(Fault::Token { token, used_as }, offset))
}

/// Parses the body at the start of `data`, which ends with its section. `base` is the file offset of `data`.
pub(crate) fn parse(data: &[u8], base: usize, method: Token) -> Result<MethodBody<'_>> {
    let bad = |what: &'static str, at: usize| Error::bad(Fault::Body { method, what }, base + at);
    let first = *data.first().ok_or_else(|| bad("no header", 0))?;
    if first & 3 == TINY {
        let code = range(data, 1, usize::from(first >> 2)).ok_or_else(|| bad("code leaves the section", 0))?;
        if code.is_empty() {
            return Err(bad("code is empty", 0));
        }
        let (max_stack, init_locals, local_var_sig) = (TINY_MAX_STACK, false, None);
        return Ok(MethodBody {
            max_stack,
            init_locals,
            local_var_sig,
            code,
            clauses: Vec::new(),
        });
    }
    if first & 3 != FAT {
        return Err(bad("header is neither tiny nor fat", 0));
    }
    let header = range(data, 0, 12).ok_or_else(|| bad("fat header leaves the section", 0))?;
    let flags = u16_at(header, 0).unwrap_or(0);
    let header_size = usize::from(flags >> 12) * 4;
    if header_size < 12 {
        return Err(bad("fat header size is less than 12 bytes", 1));
    }
    let max_stack = u16_at(header, 2).unwrap_or(0);
    let code_size = u32_at(header, 4).unwrap_or(0) as usize;
    let locals = Token(u32_at(header, 8).unwrap_or(0));
    let code = range(data, header_size, code_size).ok_or_else(|| bad("code leaves the section", 4))?;
    if code.is_empty() {
        return Err(bad("code is empty", 4));
    }
    let clauses = if flags & MORE_SECTIONS != 0 {
        // Sections start at 4-byte boundaries; bodies do too, so offsets in `data` serve.
        let start = (header_size + code_size).next_multiple_of(4);
        read_sections(data, start, code_size as u32, &bad)?
    } else {
        Vec::new()
    };
    Ok(MethodBody {
        max_stack,
        init_locals: flags & INIT_LOCALS != 0,
        local_var_sig: (locals.0 != 0).then_some(locals),
        code,
        clauses,
    })
}

fn read_sections(
    data: &[u8],
    mut at: usize,
    code_size: u32,
    bad: &dyn Fn(&'static str, usize) -> Error,
) -> Result<Vec<EhClause>> {
    let mut clauses = Vec::new();
    loop {
        let header = range(data, at, 4).ok_or_else(|| bad("section header leaves the image section", at))?;
        let kind = header[0];
        let is_fat = kind & SECTION_FAT != 0;
        let size = if is_fat {
            u32_at(header, 0).unwrap_or(0) as usize >> 8
        } else {
            usize::from(header[1])
        };
        if kind & 0x3f != SECTION_EH {
            return Err(bad("section kind is not exception handling", at));
        }
        let clause_size = if is_fat { CLAUSE_FAT } else { CLAUSE_SMALL };
        // The size includes the header; some writers leave those four bytes out, so only whole clauses are counted.
        let count = size / clause_size;
        let bytes = range(data, at + 4, count * clause_size).ok_or_else(|| bad("clauses leave the section", at))?;
        for (i, clause) in bytes.chunks_exact(clause_size).enumerate() {
            let clause_at = at + 4 + i * clause_size;
            clauses.push(read_clause(clause, is_fat, code_size).map_err(|what| bad(what, clause_at))?);
        }
        if kind & SECTION_MORE == 0 {
            return Ok(clauses);
        }
        if size < 4 {
            return Err(bad("section size is less than its header", at));
        }
        at = (at + size).next_multiple_of(4);
    }
}

fn read_clause(c: &[u8], is_fat: bool, code_size: u32) -> std::result::Result<EhClause, &'static str> {
    let (flags, try_offset, try_length, handler_offset, handler_length) = if is_fat {
        let word = |at| u32_at(c, at).unwrap_or(0);
        (word(0), word(4), word(8), word(12), word(16))
    } else {
        let half = |at| u16_at(c, at).map_or(0, u32::from);
        (half(0), half(2), u32::from(c[4]), half(5), u32::from(c[7]))
    };
    let last = u32_at(c, c.len() - 4).unwrap_or(0);
    let inside = |offset: u32, length: u32| offset.checked_add(length).is_some_and(|end| end <= code_size);
    if try_length == 0 || !inside(try_offset, try_length) {
        return Err("protected block leaves the code or is empty");
    }
    if handler_length == 0 || !inside(handler_offset, handler_length) {
        return Err("handler leaves the code or is empty");
    }
    let kind = match flags & 7 {
        0 => EhKind::Catch(Token(last)),
        1 if last >= handler_offset => return Err("filter does not precede its handler"),
        1 => EhKind::Filter { filter_offset: last },
        2 => EhKind::Finally,
        4 => EhKind::Fault,
        _ => return Err("unknown kind of exception clause"),
    };
    Ok(EhClause {
        kind,
        try_offset,
        try_length,
        handler_offset,
        handler_length,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const M: Token = Token(0x0600_0001);

    #[test]
    fn tiny_and_fat() {
        let b = parse(&[0x0a, 0x17, 0x2a, 0xff], 0, M).unwrap();
        assert_eq!((b.code, b.max_stack), (&[0x17, 0x2a][..], 8));
        let mut fat = vec![0x1b, 0x30, 3, 0, 4, 0, 0, 0, 1, 0, 0, 0x11, 0, 0xdc, 0, 0x2a];
        fat.extend([0x01, 16, 0, 0, 2, 0, 0, 0, 1, 1, 0, 1, 0, 0, 0, 0]);
        let b = parse(&fat, 0, M).unwrap();
        assert!(b.init_locals && b.max_stack == 3 && b.local_var_sig == Some(Token(0x1100_0001)));
        assert_eq!(b.clauses[0].kind, EhKind::Finally);
        assert_eq!((b.clauses[0].handler_offset, b.clauses[0].handler_length), (1, 1));
        for cut in 0..fat.len() {
            assert!(parse(&fat[..cut], 0, M).is_err(), "{cut}");
        }
    }

    #[test]
    fn faults_have_offsets() {
        let e = parse(&[0x00], 0x200, M).unwrap_err();
        assert_eq!(e.offset(), Some(0x200));
        let e = parse(&[0xfe, 0], 0x200, M).unwrap_err();
        assert!(e.to_string().contains("leaves the section"), "{e}");
    }
}
