//! Exception clauses of precompiled methods.

use corten_metadata::{Module, Token};

use crate::error::{Fault, Result};
use crate::reader::Reader;

const PAIR_SIZE: usize = 8;
const CLAUSE_SIZE: usize = 24;

/// What a handler is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandlerKind {
    /// Catches exceptions of a class (a token of the method's module).
    Catch(Token),
    /// Catches exceptions that the funclet at this offset accepts.
    Filter {
        /// Offset from the start of the method.
        offset: u32,
    },
    /// Runs when control leaves the protected code in any way.
    Finally,
    /// Runs when an exception leaves the protected code. Also finally clauses whose normal way was compiled into the method.
    Fault,
}

/// A clause. Offsets count from the start of the method's code; handlers are funclets behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clause {
    /// What the handler is for.
    pub kind: HandlerKind,
    /// Protected code: first byte and one past the last. Where it is empty, the clause applies to nothing: it only marks a copy of a
    /// finally handler in the method's own code.
    pub protected: (u32, u32),
    /// The handler: first byte and one past the last.
    pub handler: (u32, u32),
    /// The clause stands for another one in code of a handler that was moved out of it (`COR_ILEXCEPTION_CLAUSE_DUPLICATED`).
    pub duplicated: bool,
    /// The clause protects the same code as the one before it.
    pub same_protected: bool,
}

const FILTER: u32 = 1;
const FINALLY: u32 = 2;
const FAULT: u32 = 4;
const DUPLICATED: u32 = 8;
const SAME_TRY: u32 = 16;

/// The table of all clauses: pairs of a method's address and that of its clauses, sorted, with one more pair as the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clauses<'a> {
    module: &'a Module,
    table: Option<Reader<'a>>,
    /// Methods with clauses.
    count: usize,
}

impl<'a> Clauses<'a> {
    pub fn new(module: &'a Module, table: Option<Reader<'a>>) -> Result<Self> {
        let count = match table {
            Some(table) if table.rest().len() % PAIR_SIZE != 0 => {
                return Err(table.error(Fault::Value(table.rest().len() as u32)));
            }
            Some(table) => (table.rest().len() / PAIR_SIZE).saturating_sub(1),
            None => 0,
        };
        Ok(Self { module, table, count })
    }

    pub fn of(&self, method: u32) -> Result<Vec<Clause>> {
        let Some(table) = self.table else {
            return Ok(Vec::new());
        };
        let pair = |index: usize| {
            let mut at = table.to(index * PAIR_SIZE);
            Ok((at.u32()?, at.u32()?))
        };
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            let (begin, clauses) = pair(middle)?;
            if begin < method {
                low = middle + 1;
            } else if begin > method {
                high = middle;
            } else {
                let (_, end) = pair(middle + 1)?;
                return self.read(table.to(middle * PAIR_SIZE), clauses, end);
            }
        }
        Ok(Vec::new())
    }

    fn read(&self, at: Reader<'_>, begin: u32, end: u32) -> Result<Vec<Clause>> {
        let size = end.checked_sub(begin).ok_or_else(|| at.error(Fault::Value(end)))?;
        let bytes = self.module.pe().rva_range(begin, size);
        let bytes = bytes.ok_or_else(|| at.error(Fault::Value(begin)))?;
        let mut reader = Reader::new("exception clauses", begin, bytes);
        let mut clauses = Vec::new();
        while reader.rest().len() >= CLAUSE_SIZE {
            let start = reader;
            let flags = reader.u32()?;
            let protected = (reader.u32()?, reader.u32()?);
            let handler = (reader.u32()?, reader.u32()?);
            let last = reader.u32()?;
            let kind = match flags & !(DUPLICATED | SAME_TRY) {
                0 => HandlerKind::Catch(Token(last)),
                FILTER => HandlerKind::Filter { offset: last },
                FINALLY => HandlerKind::Finally,
                FAULT => HandlerKind::Fault,
                _ => return Err(start.error(Fault::Value(flags))),
            };
            if protected.0 > protected.1 || handler.0 > handler.1 {
                return Err(start.error(Fault::Value(protected.0.max(handler.0))));
            }
            clauses.push(Clause {
                kind,
                protected,
                handler,
                duplicated: flags & DUPLICATED != 0,
                same_protected: flags & SAME_TRY != 0,
            });
        }
        Ok(clauses)
    }
}
