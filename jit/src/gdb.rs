//! The GDB JIT interface (`CORTEN_GDB=1`): symbols and unwind tables of generated code for a debugger.
//!
//! GDB sets a breakpoint on `__jit_debug_register_code` and reads an in-memory ELF file for each entry: `.text` (no contents,
//! real addresses), `.eh_frame`, symbols. Each registration costs GDB milliseconds, so it is off by default.

use crate::code_map::CodeInfo;
use cranelift_codegen::isa::TargetIsa;
use cranelift_codegen::isa::unwind::systemv::UnwindInfo;
use gimli::write::{Address, EhFrame, EndianVec, FrameTable};
use parking_lot::Mutex;

/// `struct jit_code_entry`.
#[repr(C)]
struct Entry {
    next: *mut Entry,
    previous: *mut Entry,
    symfile: *const u8,
    size: u64,
}

/// `struct jit_descriptor`.
#[repr(C)]
struct Descriptor {
    version: u32,
    action: u32,
    relevant: *mut Entry,
    first: *mut Entry,
}

const JIT_REGISTER: u32 = 1;

/// GDB breaks here.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn __jit_debug_register_code() {
    // SAFETY: empty; keeps calls from being removed.
    unsafe { std::arch::asm!("", options(nomem, nostack)) };
}

#[unsafe(no_mangle)]
static mut __jit_debug_descriptor: Descriptor = Descriptor {
    version: 1,
    action: 0,
    relevant: std::ptr::null_mut(),
    first: std::ptr::null_mut(),
};

static LOCK: Mutex<()> = Mutex::new(());

/// Does the environment ask for registration?
pub fn enabled() -> bool {
    std::env::var_os("CORTEN_GDB").is_some_and(|v| v != "0" && !v.is_empty())
}

/// Makes installed code known to GDB. Failures are ignored: debugging must not break the program.
pub fn register(name: &str, info: &CodeInfo, unwind: &UnwindInfo, isa: &dyn TargetIsa) {
    let Some(frames) = eh_frame(info, unwind, isa) else {
        return;
    };
    let image: &'static [u8] = Box::leak(elf(name, info, &frames).into_boxed_slice());
    let entry = Box::leak(Box::new(Entry {
        next: std::ptr::null_mut(),
        previous: std::ptr::null_mut(),
        symfile: image.as_ptr(),
        size: image.len() as u64,
    }));
    let _guard = LOCK.lock();
    // SAFETY: the descriptor is only touched under the lock (and by the debugger while we are stopped).
    unsafe {
        let descriptor = &raw mut __jit_debug_descriptor;
        let first = (*descriptor).first;
        entry.next = first;
        if !first.is_null() {
            (*first).previous = entry;
        }
        (*descriptor).first = entry;
        (*descriptor).relevant = entry;
        (*descriptor).action = JIT_REGISTER;
    }
    __jit_debug_register_code();
}

fn eh_frame(info: &CodeInfo, unwind: &UnwindInfo, isa: &dyn TargetIsa) -> Option<Vec<u8>> {
    let mut table = FrameTable::default();
    let cie = table.add_cie(isa.create_systemv_cie()?);
    table.add_fde(cie, unwind.to_fde(Address::Constant(info.start as u64)));
    let mut out = EhFrame(EndianVec::new(gimli::LittleEndian));
    table.write_eh_frame(&mut out).ok()?;
    let mut bytes = out.0.into_vec();
    bytes.extend([0u8; 4]);
    Some(bytes)
}

/// A relocatable-looking ELF image with everything at its real address.
fn elf(name: &str, info: &CodeInfo, eh_frame: &[u8]) -> Vec<u8> {
    const NAMES: &[u8] = b"\0.text\0.eh_frame\0.symtab\0.strtab\0.shstrtab\0";
    let mut strings = vec![0u8];
    strings.extend(name.bytes().filter(|b| *b != 0));
    strings.push(0);
    let mut symbols = vec![0u8; 24];
    symbols.extend(1u32.to_le_bytes());
    symbols.extend([0x12, 0]); // STB_GLOBAL | STT_FUNC
    symbols.extend(1u16.to_le_bytes());
    symbols.extend((info.start as u64).to_le_bytes());
    symbols.extend(u64::from(info.len).to_le_bytes());

    let mut file = vec![0u8; 64];
    let mut put = |data: &[u8]| {
        file.resize(file.len().next_multiple_of(16), 0);
        let at = file.len() as u64;
        file.extend(data);
        at
    };
    let (frames_at, symbols_at, strings_at, names_at) = (put(eh_frame), put(&symbols), put(&strings), put(NAMES));
    let sections_at = put(&[]);
    // name, type, flags, address, offset, size, link, info, alignment, entry size
    let sections: [[u64; 10]; 6] = [
        [0; 10],
        [1, 8, 6, info.start as u64, 0, u64::from(info.len), 0, 0, 16, 0],
        [
            7,
            1,
            2,
            eh_frame.as_ptr() as u64,
            frames_at,
            eh_frame.len() as u64,
            0,
            0,
            8,
            0,
        ],
        [17, 2, 0, 0, symbols_at, symbols.len() as u64, 4, 1, 8, 24],
        [25, 3, 0, 0, strings_at, strings.len() as u64, 0, 0, 1, 0],
        [33, 3, 0, 0, names_at, NAMES.len() as u64, 0, 0, 1, 0],
    ];
    for s in sections {
        for (i, value) in s.into_iter().enumerate() {
            if matches!(i, 0 | 1 | 6 | 7) {
                file.extend((value as u32).to_le_bytes());
            } else {
                file.extend(value.to_le_bytes());
            }
        }
    }
    let mut header = b"\x7fELF\x02\x01\x01".to_vec();
    header.resize(16, 0);
    header.extend(2u16.to_le_bytes()); // ET_EXEC
    header.extend(62u16.to_le_bytes()); // EM_X86_64
    header.extend(1u32.to_le_bytes());
    header.extend((info.start as u64).to_le_bytes());
    header.extend(0u64.to_le_bytes());
    header.extend(sections_at.to_le_bytes());
    header.extend(0u32.to_le_bytes());
    for v in [64u16, 0, 0, 64, 6, 5] {
        header.extend(v.to_le_bytes());
    }
    file[..64].copy_from_slice(&header);
    file
}
