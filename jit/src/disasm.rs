//! Disassembly of installed code (`DOTNET_JitDisasm`).

use crate::code_map::CodeInfo;
use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter};
use std::fmt::Write;
use std::io::Write as _;
use std::sync::OnceLock;

/// Text of the instructions with offsets, IL offsets and landing pads.
pub fn disassemble(name: &str, info: &CodeInfo) -> String {
    // SAFETY: installed code is readable, and lives as long as its description.
    let bytes = unsafe { std::slice::from_raw_parts(info.start as *const u8, info.len as usize) };
    let mut decoder = Decoder::with_ip(64, bytes, info.start as u64, DecoderOptions::NONE);
    let mut formatter = IntelFormatter::new();
    let mut text = format!("; {name} ({} bytes, frame {})\n", info.len, info.frame_size);
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

/// Prints the code of methods whose name contains the value of `DOTNET_JitDisasm` (`*`: all), to the file
/// `DOTNET_JitStdOutFile` or the standard output.
pub(crate) fn print_if_asked(name: &str, info: &CodeInfo) {
    static PATTERN: OnceLock<Option<String>> = OnceLock::new();
    let Some(pattern) = PATTERN.get_or_init(|| std::env::var("DOTNET_JitDisasm").ok()) else {
        return;
    };
    if pattern != "*" && !name.contains(pattern.as_str()) {
        return;
    }
    let text = disassemble(name, info);
    // Failures are ignored: diagnostics must not break the program.
    match std::env::var("DOTNET_JitStdOutFile") {
        Ok(path) => {
            if let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(path) {
                let _ = file.write_all(text.as_bytes());
            }
        }
        Err(_) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
        }
    }
}
