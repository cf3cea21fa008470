//! Disassembly of installed code (`DOTNET_JitDisasm`).

use crate::code_map::CodeInfo;
use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter};
use std::fmt::Write;

/// Text of the instructions with offsets, IL offsets and landing pads.
pub fn disassemble(info: &CodeInfo) -> String {
    // SAFETY: installed code is readable and lives for ever.
    let bytes = unsafe { std::slice::from_raw_parts(info.start as *const u8, info.len as usize) };
    let mut decoder = Decoder::with_ip(64, bytes, info.start as u64, DecoderOptions::NONE);
    let mut formatter = IntelFormatter::new();
    let mut text = format!("; {} ({} bytes, frame {})\n", info.name, info.len, info.frame_size);
    let mut instruction = Instruction::default();
    let mut last_il = None;
    let mut line = String::new();
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        let offset = (instruction.ip() - info.start as u64) as u32;
        let il = info.il_offset(offset);
        if il != last_il {
            if let Some(il) = il {
                let _ = writeln!(text, "; IL_{il:04x}");
            }
            last_il = il;
        }
        for pad in info.handlers.iter().filter(|h| h.pad == offset).take(1) {
            let _ = writeln!(text, "; landing pad of clause {}", pad.clause);
        }
        line.clear();
        formatter.format(&instruction, &mut line);
        let _ = writeln!(text, "  {offset:5x}  {line}");
    }
    text
}
