//! IL text to bytes.

use super::host::{BodyDecl, Tables, Target};
use super::parse::{types, words};
use crate::host_api::{Convention, Signature};
use corten_metadata::il::{Opcode, OperandKind};
use corten_metadata::{EhClause, EhKind};
use rustc_hash::FxHashMap;

pub(super) struct Assembler<'a> {
    tables: &'a mut Tables,
    labels: FxHashMap<String, u32>,
    /// (position, bytes, base, label)
    fixups: Vec<(usize, usize, u32, String)>,
    code: Vec<u8>,
}

fn opcode(mnemonic: &str) -> Result<Opcode, String> {
    let found = Opcode::ALL.iter().copied().find(|o| o.mnemonic() == mnemonic);
    found.ok_or_else(|| format!("unknown instruction {mnemonic}"))
}

fn integer(text: &str) -> Result<i64, String> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let value = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).map(|v| v as i64),
        None => digits.parse::<u64>().map(|v| v as i64),
    };
    let value = value.map_err(|_| format!("integer expected, not {text}"))?;
    Ok(if negative { value.wrapping_neg() } else { value })
}

fn float(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| format!("float expected, not {text}"))
}

impl<'a> Assembler<'a> {
    pub fn new(tables: &'a mut Tables) -> Assembler<'a> {
        Assembler {
            tables,
            labels: FxHashMap::default(),
            fixups: Vec::new(),
            code: Vec::new(),
        }
    }

    /// Assembles the lines between `.test` and `.end`.
    pub fn assemble(mut self, lines: &[(usize, &str)], body: &mut BodyDecl) -> Result<(), String> {
        let mut regions = Vec::new();
        for (number, line) in lines {
            let outcome = if let Some(rest) = line.strip_prefix(".locals") {
                self.locals(rest.trim(), body)
            } else if let Some(rest) = line.strip_prefix(".try") {
                regions.push(words(rest));
                Ok(())
            } else {
                self.instruction(line)
            };
            outcome.map_err(|e| format!("line {}: {e}", number + 1))?;
        }
        let end = self.code.len() as u32;
        self.labels.insert("end".to_string(), end);
        for (at, bytes, base, label) in std::mem::take(&mut self.fixups) {
            let distance = self.label(&label)? as i32 - base as i32;
            self.code[at..at + bytes].copy_from_slice(&distance.to_le_bytes()[..bytes]);
        }
        for region in regions {
            let clause = self.clause(&region)?;
            body.clauses.push(clause);
        }
        body.code = self.code;
        Ok(())
    }

    fn label(&self, name: &str) -> Result<u32, String> {
        self.labels
            .get(name)
            .copied()
            .ok_or_else(|| format!("unknown label {name}"))
    }

    fn locals(&mut self, text: &str, body: &mut BodyDecl) -> Result<(), String> {
        let text = match text.strip_prefix("init") {
            Some(rest) => {
                body.init_locals = true;
                rest.trim()
            }
            None => text,
        };
        let pinned: Vec<bool> = text.split(',').map(|t| t.contains("pinned ")).collect();
        let plain = text.replace("pinned ", "");
        body.locals = types(self.tables, &plain)?.into_iter().zip(pinned).collect();
        Ok(())
    }

    fn clause(&mut self, words: &[String]) -> Result<EhClause, String> {
        let word = |i: usize| words.get(i).map(String::as_str).ok_or("incomplete .try");
        let start = self.label(word(0)?)?;
        let stop = self.label(word(1)?)?;
        let (kind, rest) = match word(2)? {
            "catch" => {
                let token = self.token(OperandKind::Type, word(3)?)?;
                (EhKind::Catch(token), 4)
            }
            "filter" => (
                EhKind::Filter {
                    filter_offset: self.label(word(3)?)?,
                },
                4,
            ),
            "finally" => (EhKind::Finally, 3),
            "fault" => (EhKind::Fault, 3),
            other => return Err(format!("unknown handler {other}")),
        };
        let handler = self.label(word(rest)?)?;
        let handler_end = self.label(word(rest + 1)?)?;
        Ok(EhClause {
            kind,
            try_offset: start,
            try_length: stop.wrapping_sub(start),
            handler_offset: handler,
            handler_length: handler_end.wrapping_sub(handler),
        })
    }

    fn token(&mut self, kind: OperandKind, name: &str) -> Result<corten_metadata::Token, String> {
        let target = if name.starts_with("deferred:") {
            Target::Deferred
        } else {
            match kind {
                OperandKind::String => Target::String,
                OperandKind::Type => Target::Type(self.tables.type_named(name)?),
                OperandKind::Method => Target::Method(self.tables.method_named(name)?),
                OperandKind::Field => {
                    let field = self.tables.field_names.get(name).copied();
                    Target::Field(field.ok_or_else(|| format!("unknown field {name}"))?)
                }
                OperandKind::Sig => Target::Signature(self.signature(name)?),
                _ => match name.split_once(' ') {
                    Some(("type", name)) => return self.token(OperandKind::Type, name),
                    Some(("method", name)) => return self.token(OperandKind::Method, name),
                    Some(("field", name)) => return self.token(OperandKind::Field, name),
                    _ => return self.token(OperandKind::Type, name),
                },
            }
        };
        Ok(self.tables.token(target))
    }

    /// `[instance] [unmanaged|suppress] int (int, object)`
    fn signature(&mut self, text: &str) -> Result<Signature, String> {
        let words = words(text);
        let has = |flag: &str| words.iter().any(|w| w == flag);
        let params = types(self.tables, words.last().map_or("", String::as_str))?;
        let ret = words
            .len()
            .checked_sub(2)
            .map(|i| words[i].clone())
            .ok_or("return type expected")?;
        Ok(Signature {
            has_this: has("instance"),
            ret: self.tables.type_named(&ret)?,
            params: params.into(),
            convention: match (has("unmanaged"), has("suppress")) {
                (true, _) => Convention::Unmanaged,
                (_, true) => Convention::UnmanagedSuppressGc,
                _ => Convention::Managed,
            },
        })
    }

    fn instruction(&mut self, line: &str) -> Result<(), String> {
        let mut line = line;
        // A label ends in a colon that is not part of `::`.
        while let Some(at) = line
            .find(':')
            .filter(|&at| !line[..at].contains(' ') && !line[at..].starts_with("::"))
        {
            self.labels.insert(line[..at].to_string(), self.code.len() as u32);
            line = line[at + 1..].trim();
        }
        if line.is_empty() {
            return Ok(());
        }
        let (mnemonic, operand) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let operand = operand.trim();
        if mnemonic == ".byte" {
            self.code.push(integer(operand)? as u8);
            return Ok(());
        }
        let op = opcode(mnemonic)?;
        let code = op as u16;
        if code > 0xff {
            self.code.push(0xfe);
        }
        self.code.push(code as u8);
        match op.operand_kind() {
            OperandKind::None => {}
            OperandKind::ShortVar | OperandKind::ShortI => self.code.push(integer(operand)? as u8),
            OperandKind::Var => self.code.extend((integer(operand)? as u16).to_le_bytes()),
            OperandKind::I => self.code.extend((integer(operand)? as i32).to_le_bytes()),
            OperandKind::I8 => self.code.extend(integer(operand)?.to_le_bytes()),
            OperandKind::ShortR => self.code.extend((float(operand)? as f32).to_le_bytes()),
            OperandKind::R => self.code.extend(float(operand)?.to_le_bytes()),
            OperandKind::ShortBranch => self.reference(operand, 1, self.code.len() as u32 + 1),
            OperandKind::Branch => self.reference(operand, 4, self.code.len() as u32 + 4),
            OperandKind::Switch => {
                let inner = operand.trim_start_matches('(').trim_end_matches(')');
                let targets: Vec<&str> = inner.split(',').map(str::trim).filter(|t| !t.is_empty()).collect();
                self.code.extend((targets.len() as u32).to_le_bytes());
                let base = (self.code.len() + 4 * targets.len()) as u32;
                for target in targets {
                    self.reference(target, 4, base);
                }
            }
            kind => {
                let token = self.token(kind, operand)?;
                self.code.extend(token.0.to_le_bytes());
            }
        }
        Ok(())
    }

    fn reference(&mut self, label: &str, bytes: usize, base: u32) {
        self.fixups.push((self.code.len(), bytes, base, label.to_string()));
        self.code.extend(std::iter::repeat_n(0, bytes));
    }
}
