//! The way into code that counts its calls.
//!
//! It is not part of the function, which would then have three blocks more for Cranelift, but a few fixed instructions behind
//! it: they take one from the counter and jump to the function.

use crate::ids::MethodId;

/// The instructions stand at a multiple of this.
const ALIGN: usize = 16;

/// Where the instructions are, and the call that needs the address of [`Helper::CallCounted`](crate::ir::Helper::CallCounted).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CountingEntry {
    /// Offset of the first instruction.
    pub entry: u32,
    /// Offset of the call's 32-bit displacement.
    pub displacement: u32,
}

/// Appends the entry to a function's code. `cell` is the address of the 32-bit counter.
pub(crate) fn append(code: &mut Vec<u8>, method: MethodId, cell: u64) -> CountingEntry {
    const INT3: u8 = 0xcc;
    code.resize(code.len().next_multiple_of(ALIGN), INT3);
    let entry = code.len();
    code.extend([0x49, 0xba]); // mov r10, cell
    code.extend(cell.to_le_bytes());
    code.extend([0x41, 0x83, 0x2a, 1]); // sub dword ptr [r10], 1
    code.extend([0x0f, 0x85]); // jne function
    to_start(code);
    code.extend([0x49, 0xba]); // mov r10, method
    code.extend(method.0.to_le_bytes());
    code.push(0xe8); // call CallCounted
    let displacement = code.len();
    code.extend([0; 4]);
    code.push(0xe9); // jmp function
    to_start(code);
    CountingEntry {
        entry: entry as u32,
        displacement: displacement as u32,
    }
}

/// The displacement of a jump to the first byte.
fn to_start(code: &mut Vec<u8>) {
    let end = code.len() as i32 + 4;
    code.extend((-end).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};

    #[test]
    fn counts_before_the_function() {
        let mut code = vec![0x90; 33];
        let counting = append(&mut code, MethodId(0x1234), 0x5678);
        assert_eq!(counting.entry, 48);
        let mut formatter = IntelFormatter::new();
        let text: Vec<String> = Decoder::with_ip(64, &code[48..], 48, DecoderOptions::NONE)
            .into_iter()
            .map(|i| {
                let mut line = String::new();
                formatter.format(&i, &mut line);
                line
            })
            .collect();
        let next = u64::from(counting.displacement) + 4;
        let expected = [
            "mov r10,5678h".to_owned(),
            "sub dword ptr [r10],1".to_owned(),
            "jne 0".to_owned(),
            "mov r10,1234h".to_owned(),
            format!("call {next:016X}h"),
            "jmp 0".to_owned(),
        ];
        assert_eq!(text, expected);
    }
}
