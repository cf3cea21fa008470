//! Unwinding of all functions of the framework, from each instruction of their prologs and from behind them: the prologs' instructions
//! are carried out on a model of stack and registers, and what unwinding restores must be what was there before.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;

use corten_r2r::{Frame, FunctionId, UnwindInfo, UnwindOp};
use iced_x86::{Code, Decoder, DecoderOptions, Instruction, OpKind, Register};
use support::for_each_image;

const RSP: usize = 4;
/// rbx, rbp, r12 to r15.
const PRESERVED: [usize; 6] = [3, 5, 12, 13, 14, 15];
const STACK: u64 = 0x7FFF_0000_0000;
const RETURN_ADDRESS: u64 = 0x1234_5678_9ABC;

/// Registers and the words that were stored.
struct Machine {
    frame: Frame,
    memory: HashMap<u64, u64>,
}

impl Machine {
    /// At the first instruction of a function.
    fn new() -> Self {
        let mut registers = [0; 16];
        for (i, register) in registers.iter_mut().enumerate() {
            *register = 0xAAAA_0000 + i as u64;
        }
        registers[RSP] = STACK - 8;
        Self {
            frame: Frame { registers, ip: 0 },
            memory: HashMap::from([(STACK - 8, RETURN_ADDRESS)]),
        }
    }

    /// The frame of the caller of that function.
    fn caller() -> Frame {
        let mut caller = Self::new().frame;
        caller.registers[RSP] = STACK;
        caller.ip = RETURN_ADDRESS;
        caller
    }

    fn register(&mut self, register: Register) -> &mut u64 {
        &mut self.frame.registers[register.full_register().number()]
    }

    /// Carries out an instruction as far as stack and frame registers go.
    fn step(&mut self, instruction: &Instruction) {
        let rsp = self.frame.registers[RSP];
        match instruction.code() {
            Code::Push_r64 => {
                let value = *self.register(instruction.op0_register());
                self.frame.registers[RSP] = rsp - 8;
                self.memory.insert(rsp - 8, value);
            }
            Code::Sub_rm64_imm8 | Code::Sub_rm64_imm32 if instruction.op0_register() == Register::RSP => {
                self.frame.registers[RSP] = rsp - instruction.immediate(1);
            }
            Code::Lea_r64_m => {
                let base = match instruction.memory_base() {
                    Register::RIP | Register::None => return,
                    base => *self.register(base),
                };
                let value = base.wrapping_add(instruction.memory_displacement64());
                *self.register(instruction.op0_register()) = value;
            }
            // Frames of more than a page are probed: rsp comes from r11.
            Code::Mov_r64_rm64 | Code::Mov_rm64_r64
                if instruction.op0_kind() == OpKind::Register && instruction.op1_kind() == OpKind::Register =>
            {
                *self.register(instruction.op0_register()) = *self.register(instruction.op1_register());
            }
            _ => {}
        }
    }
}

fn check(info: &UnwindInfo, code: &[u8], what: impl Fn() -> String) -> usize {
    let mut machine = Machine::new();
    let expected = Machine::caller();
    let mut decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
    let mut checks = 0;
    loop {
        let offset = decoder.ip() as u32;
        let caller = info.caller(offset, &machine.frame, |address| machine.memory.get(&address).copied());
        let caller = caller.unwrap_or_else(|| panic!("{} at {offset:#x}: a word that was never stored", what()));
        for register in PRESERVED.into_iter().chain([RSP]) {
            assert_eq!(
                caller.registers[register],
                expected.registers[register],
                "{} at {offset:#x}: register {register}\n{info:?}",
                what()
            );
        }
        assert_eq!(caller.ip, expected.ip, "{} at {offset:#x}", what());
        checks += 1;
        if offset >= u32::from(info.prolog_size) || !decoder.can_decode() {
            // The body may move rsp where there is a frame register.
            if info
                .codes
                .iter()
                .any(|code| matches!(code.op, UnwindOp::SetFrame { .. }))
            {
                machine.frame.registers[RSP] -= 0x1230;
                let moved = info.caller(offset, &machine.frame, |address| machine.memory.get(&address).copied());
                assert_eq!(moved.map(|frame| frame.registers), Some(caller.registers), "{}", what());
            }
            return checks;
        }
        let instruction = decoder.decode();
        machine.step(&instruction);
    }
}

#[test]
fn prologs_are_undone() {
    let (mut functions, mut checks) = (0, 0);
    let there = for_each_image(|image, name| {
        for id in (0..image.functions().len() as u32).map(FunctionId) {
            let (info, _) = image.functions().unwind(id).unwrap();
            let code = image.functions().code(id).unwrap();
            checks += check(&info, code, || format!("{name}, {id:?}"));
            functions += 1;
        }
    });
    println!("{checks} positions in {functions} functions");
    assert!(!there || checks > functions);
}
