//! IL: the instruction set and its decoder (ECMA-335 III).

mod decoder;
mod opcode;
mod statements;

pub use decoder::{Decoder, IlError, IlErrorKind, Instruction, Operand};
pub use opcode::{FlowControl, Opcode, OperandKind, StackBehaviour, StackItem};
