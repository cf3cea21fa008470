//! Loops of a method body, as far as tiering wants to know before anything is imported.

use corten_metadata::il::{Decoder, Opcode, Operand};
use corten_metadata::{EhKind, MethodBody};

/// Backward branches of a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LoopShape {
    /// There is one.
    pub any: bool,
    /// There is one inside of a filter, finally or fault handler.
    pub in_cleanup: bool,
    /// A clause has a filter.
    pub filters: bool,
    /// A `tail.` or `jmp` occurs.
    pub explicit_tail_calls: bool,
}

/// Looks for backward branches. A malformed body has none: the importer will tell.
pub fn loop_shape(body: &MethodBody<'_>) -> LoopShape {
    let mut shape = LoopShape {
        filters: body.clauses.iter().any(|c| matches!(c.kind, EhKind::Filter { .. })),
        ..LoopShape::default()
    };
    for ins in Decoder::new(body.code).map_while(Result::ok) {
        let back = match &ins.operand {
            Operand::Branch(target) => *target <= ins.offset,
            Operand::Switch(targets) => targets.iter().any(|t| *t <= ins.offset),
            _ => false,
        };
        shape.any |= back;
        shape.in_cleanup |= back && in_cleanup(body, ins.offset);
        shape.explicit_tail_calls |= matches!(ins.opcode, Opcode::Tail | Opcode::Jmp);
    }
    shape
}

/// Is the offset inside of a filter, finally or fault handler?
pub(crate) fn in_cleanup(body: &MethodBody<'_>, offset: u32) -> bool {
    body.clauses.iter().any(|c| {
        let handler = c.handler_offset..c.handler_offset + c.handler_length;
        match c.kind {
            EhKind::Finally | EhKind::Fault => handler.contains(&offset),
            EhKind::Filter { filter_offset } => (filter_offset..c.handler_offset).contains(&offset),
            EhKind::Catch(_) => false,
        }
    })
}
