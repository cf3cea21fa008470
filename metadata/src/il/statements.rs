//! Where statements begin: what the position of an instruction is rounded to in stack traces.
//!
//! CoreCLR's compiler keeps source positions only where the evaluation stack is empty, at the starts of handlers, behind `nop`
//! and behind calls without a result, which constructors are, too. A frame in the middle of an expression is therefore shown at
//! the start of that expression, even where sequence points of the program lie in between (`r += f()` continues the statement
//! before, if the C# compiler left `r` on the stack).

use super::{Decoder, FlowControl, Instruction, Opcode, Operand};
use crate::body::{EhKind, MethodBody};
use crate::module::Module;
use crate::sig::{self, MethodSig, TypeSig};
use crate::token::{TableId, Token};
use std::collections::HashMap;

impl Module {
    /// The IL offset at which the statement begins that the instruction at `offset` of a body in this module is part of. `returns`:
    /// the method has a result. Offsets outside of the code, and behind malformed IL, stay as they are.
    pub fn statement_start(&self, body: &MethodBody<'_>, returns: bool, offset: u32) -> u32 {
        statement_start(body, returns, offset, |token| self.called(token))
    }

    /// The signature that a call names.
    fn called(&self, token: Token) -> Option<MethodSig> {
        let rid = token.rid();
        let blob = match token.table()? {
            TableId::MethodDef => self.method_def(rid).ok()?.signature,
            TableId::MemberRef => self.member_ref(rid).ok()?.signature,
            TableId::StandAloneSig => self.stand_alone_sig(rid).ok()?.signature,
            TableId::MethodSpec => {
                let method = self.method_spec(rid).ok()?.method;
                return (method.table()? != TableId::MethodSpec)
                    .then(|| self.called(method))
                    .flatten();
            }
            _ => return None,
        };
        sig::parse_method(blob).ok()
    }
}

/// See [`Module::statement_start`]; `called` gives the signatures of calls.
fn statement_start(
    body: &MethodBody<'_>,
    returns: bool,
    offset: u32,
    called: impl Fn(Token) -> Option<MethodSig>,
) -> u32 {
    // Depths of the stack where control arrives by other means than the instruction before.
    let mut depths: HashMap<u32, usize> = HashMap::new();
    let mut entries: Vec<u32> = Vec::new();
    for clause in &body.clauses {
        let with_exception = usize::from(matches!(clause.kind, EhKind::Catch(_) | EhKind::Filter { .. }));
        depths.insert(clause.handler_offset, with_exception);
        entries.push(clause.handler_offset);
        if let EhKind::Filter { filter_offset } = clause.kind {
            depths.insert(filter_offset, 1);
            entries.push(filter_offset);
        }
    }
    let mut start = 0;
    // `None` behind instructions that do not go on; there the stack is empty unless a jump said otherwise (III.1.7.5).
    let mut depth = Some(0usize);
    let mut boundary = true;
    for ins in Decoder::new(body.code) {
        let Ok(ins) = ins else { return offset };
        if ins.offset > offset {
            return start;
        }
        let before = match depths.get(&ins.offset) {
            Some(&known) => known,
            None => depth.unwrap_or(0),
        };
        if before == 0 || boundary || entries.contains(&ins.offset) {
            start = ins.offset;
        }
        let signature = match (ins.opcode, &ins.operand) {
            (Opcode::Call | Opcode::Callvirt | Opcode::Newobj | Opcode::Calli, Operand::Token(token)) => {
                match called(*token) {
                    Some(signature) => Some(signature),
                    None => return offset,
                }
            }
            _ => None,
        };
        let Some(after) = effect(&ins, before, signature.as_ref(), returns) else {
            return offset;
        };
        boundary = match (ins.opcode, &signature) {
            (Opcode::Nop, _) => true,
            (_, None) => false,
            (_, Some(signature)) => signature.ret == TypeSig::Void,
        };
        match &ins.operand {
            Operand::Branch(target) if matches!(ins.opcode, Opcode::Leave | Opcode::LeaveS) => {
                depths.entry(*target).or_insert(0);
            }
            Operand::Branch(target) => {
                depths.entry(*target).or_insert(after);
            }
            Operand::Switch(targets) => targets.iter().for_each(|&t| {
                depths.entry(t).or_insert(after);
            }),
            _ => {}
        }
        let ends = matches!(
            ins.opcode.flow(),
            FlowControl::Branch | FlowControl::Return | FlowControl::Throw
        );
        depth = (!ends && ins.opcode != Opcode::Jmp).then_some(after);
    }
    if (offset as usize) < body.code.len() {
        start
    } else {
        offset
    }
}

/// Items on the stack after an instruction; `None` if there were too few before.
fn effect(ins: &Instruction, before: usize, signature: Option<&MethodSig>, returns: bool) -> Option<usize> {
    let behaviour = ins.opcode.stack_behaviour();
    let arguments = signature.map_or(0, |s| {
        let this = usize::from(s.has_this && !s.explicit_this && ins.opcode != Opcode::Newobj);
        s.params.len() + this + usize::from(ins.opcode == Opcode::Calli)
    });
    let popped = match (behaviour.pop, ins.opcode) {
        (Some(items), _) => items.len(),
        (None, Opcode::Ret) => usize::from(returns),
        (None, _) => arguments,
    };
    let pushed = match behaviour.push {
        Some(items) => items.len(),
        None => usize::from(signature.is_some_and(|s| s.ret != TypeSig::Void)),
    };
    Some(before.checked_sub(popped)? + pushed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sig::CallingConvention;

    fn starts(code: &[u8], clauses: &[crate::body::EhClause]) -> Vec<u32> {
        let body = MethodBody {
            max_stack: 8,
            init_locals: true,
            local_var_sig: None,
            code,
            clauses: clauses.to_vec(),
        };
        // Token 1 takes an argument and returns a value, token 2 takes one and returns nothing.
        let called = |token: Token| {
            Some(MethodSig {
                calling_convention: CallingConvention::Default,
                has_this: false,
                explicit_this: false,
                generic_param_count: 0,
                ret: if token.rid() == 1 { TypeSig::I4 } else { TypeSig::Void },
                params: vec![TypeSig::I4],
                sentinel: None,
            })
        };
        let offsets = Decoder::new(code).map(|i| i.map_or(0, |i| i.offset));
        offsets.map(|o| statement_start(&body, true, o, called)).collect()
    }

    const CALL_VALUE: [u8; 5] = [0x28, 1, 0, 0, 6];
    const CALL_VOID: [u8; 5] = [0x28, 2, 0, 0, 6];

    #[test]
    fn an_expression_is_one_statement() {
        // ldarg.0; ldarg.0; call value; add; stloc.0; ldloc.0; ret
        let code = [&[2, 2][..], &CALL_VALUE, &[0x58, 0x0a, 6, 0x2a]].concat();
        assert_eq!(starts(&code, &[]), [0, 0, 0, 0, 0, 9, 9]);
    }

    #[test]
    fn calls_without_result_and_nops_end_one() {
        // ldarg.0; ldarg.0; call void; nop; ret
        let code = [&[2, 2][..], &CALL_VOID, &[0, 0x2a]].concat();
        assert_eq!(starts(&code, &[]), [0, 0, 0, 7, 8]);
    }

    #[test]
    fn jumps_take_the_stack_along() {
        // ldarg.0; ldarg.0; brfalse.s 7; ldc.i4.1; br.s 8; (7) ldc.i4.2; (8) add; ret
        let code = [2, 2, 0x2c, 3, 0x17, 0x2b, 1, 0x18, 0x58, 0x2a];
        assert_eq!(starts(&code, &[]), [0, 0, 0, 0, 0, 0, 0, 0]);
        // ldarg.0; ret; ldarg.0; ret
        assert_eq!(starts(&[2, 0x2a, 2, 0x2a], &[]), [0, 0, 2, 2]);
    }

    #[test]
    fn handlers_begin_with_the_exception() {
        // try { leave.s 5 } catch { pop; leave.s 5 } (5) ldarg.0; ret
        let code = [0xde, 3, 0x26, 0xde, 0, 2, 0x2a];
        let clause = crate::body::EhClause {
            kind: EhKind::Catch(Token::new(TableId::TypeRef, 1)),
            try_offset: 0,
            try_length: 2,
            handler_offset: 2,
            handler_length: 3,
        };
        assert_eq!(starts(&code, &[clause]), [0, 2, 3, 5, 5]);
    }
}
