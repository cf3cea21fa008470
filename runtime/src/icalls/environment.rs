//! `System.Environment` and the process environment block (UTF-16, Win32 semantics: changes stay inside the engine).

use crate::icall_table;
use parking_lot::Mutex;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicI32, Ordering};

static EXIT_CODE: AtomicI32 = AtomicI32::new(0);

/// `Environment.ExitCode`.
pub fn exit_code() -> i32 {
    EXIT_CODE.load(Ordering::Relaxed)
}

/// Makes `code`, what `Main` returned, the exit code, which handlers of ProcessExit may look at.
pub fn latched_exit_code(code: i32) -> i32 {
    EXIT_CODE.store(code, Ordering::Relaxed);
    code
}

extern "C" fn get_exit_code() -> i32 {
    exit_code()
}

extern "C" fn set_exit_code(value: i32) {
    EXIT_CODE.store(value, Ordering::Relaxed);
}

/// Milliseconds since the machine started, rounded down. Not the kernel's coarse clock: its steps of 4 ms would let a timer
/// that was started late in a step fire as much too early.
pub fn tick_count() -> i64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: fills the structure.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
    t.tv_sec * 1000 + t.tv_nsec / 1_000_000
}

extern "C" fn get_tick_count() -> i32 {
    tick_count() as i32
}

extern "C" fn get_tick_count64() -> i64 {
    tick_count()
}

// --- environment block ----------------------------------------------------------------------------------------------------

type Block = Vec<(Vec<u16>, Vec<u16>)>;

fn with_block<R>(use_block: impl FnOnce(&mut Block) -> R) -> R {
    static BLOCK: Mutex<Option<Block>> = Mutex::new(None);
    let utf16 = |s: &std::ffi::OsStr| {
        String::from_utf8_lossy(s.as_bytes())
            .encode_utf16()
            .collect::<Vec<u16>>()
    };
    let mut guard = BLOCK.lock();
    use_block(guard.get_or_insert_with(|| std::env::vars_os().map(|(k, v)| (utf16(&k), utf16(&v))).collect()))
}

/// Value of a variable.
pub fn variable(name: &[u16]) -> Option<Vec<u16>> {
    with_block(|b| b.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()))
}

/// Sets a variable, or removes it; false if one to be removed does not exist.
pub fn set_variable(name: &[u16], value: Option<&[u16]>) -> bool {
    with_block(|b| {
        let at = b.iter().position(|(k, _)| k == name);
        match (at, value) {
            (Some(i), Some(v)) => b[i].1 = v.to_vec(),
            (None, Some(v)) => b.push((name.to_vec(), v.to_vec())),
            (Some(i), None) => {
                b.remove(i);
            }
            (None, None) => return false,
        }
        true
    })
}

/// All variables as `name=value` strings, each NUL-terminated, with another NUL at the end.
pub fn block() -> Vec<u16> {
    with_block(|b| {
        let mut text = Vec::new();
        for (k, v) in b.iter() {
            text.extend_from_slice(k);
            text.push(u16::from(b'='));
            text.extend_from_slice(v);
            text.push(0);
        }
        text.push(0);
        text
    })
}

icall_table! {
    /// Exit code and clock (the thread id is in `threading`).
    TABLE:
    "System.Environment" {
        "get_ExitCode" => get_exit_code,
        "set_ExitCode" => set_exit_code,
        "get_TickCount" => get_tick_count,
        "get_TickCount64" => get_tick_count64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_set_found_and_removed() {
        let name: Vec<u16> = "CORTEN_TEST_VARIABLE".encode_utf16().collect();
        assert!(variable(&name).is_none());
        assert!(!set_variable(&name, None));
        assert!(set_variable(&name, Some(&[65])));
        assert_eq!(variable(&name), Some(vec![65]));
        assert!(block().ends_with(&[0, 0]));
        assert!(set_variable(&name, None));
        assert!(variable(&name).is_none());
    }
}
