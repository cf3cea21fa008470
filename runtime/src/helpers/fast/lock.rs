//! Thin locks and identity hash codes in the sync word, without a Rust frame: one compare-and-swap to enter or leave a lock
//! that is free or held by this thread ([`corten_gc_hooks::syncword`] has the bits). Everything else (contention, inflated
//! locks, errors) is the ordinary call's.

use super::{Front, slow_helper};
use crate::thread::offsets;
use corten_gc_hooks::syncword::{IS_HASH, IS_HASH_OR_INDEX, OWNER_MASK, RECURSION_MASK, RECURSION_ONE, VALUE_MASK};
use corten_gc_hooks::thread::THREAD_LOCK_ID;
use std::arch::naked_asm;
use std::sync::atomic::AtomicUsize;

/// Enters the lock of rdi or jumps to label 9 with all argument registers untouched. Clobbers rax, rcx, rdx.
macro_rules! enter_thin {
    () => {
        concat!(
            "test rdi, rdi\n jz 9f\n",
            "mov eax, [rdi - 4]\n mov ecx, [r15 + {lock_id}]\n",
            "test eax, {busy}\n jnz 3f\n",
            "or ecx, eax\n lock cmpxchg [rdi - 4], ecx\n jne 9f\n jmp 4f\n",
            // Held: by this thread, with room for one more recursion?
            "3: mov edx, eax\n and edx, {busy}\n cmp edx, ecx\n jne 9f\n",
            "mov edx, eax\n and edx, {recursion}\n cmp edx, {recursion}\n je 9f\n",
            "lea edx, [rax + {one}]\n lock cmpxchg [rdi - 4], edx\n jne 9f\n",
            "4:",
        )
    };
}

/// Leaves the lock of rdi or jumps to label 9. Clobbers rax, rcx, rdx.
macro_rules! exit_thin {
    () => {
        concat!(
            "test rdi, rdi\n jz 9f\n",
            "mov eax, [rdi - 4]\n mov ecx, [r15 + {lock_id}]\n",
            "mov edx, eax\n and edx, {busy}\n cmp edx, ecx\n jne 9f\n",
            "mov edx, eax\n xor edx, ecx\n",
            "test eax, {recursion}\n jz 3f\n",
            "lea edx, [rax - {one}]\n",
            "3: lock cmpxchg [rdi - 4], edx\n jne 9f\n",
        )
    };
}

/// Set in the sync word if it is not free: an owner, or something else than a thin lock.
const BUSY: u32 = IS_HASH_OR_INDEX | OWNER_MASK;

macro_rules! helper {
    ($(#[$doc:meta])* $name:ident, $fast:ident, $slow:path) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// Only by a call from generated code; rdi is an object or null.
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            naked_asm!(
                $fast!(), "ret",
                "9:", slow_helper!(),
                lock_id = const THREAD_LOCK_ID,
                busy = const BUSY,
                recursion = const RECURSION_MASK,
                one = const RECURSION_ONE,
                tpc = const offsets::TRANSITION_PC,
                tfp = const offsets::TRANSITION_FP,
                tsp = const offsets::TRANSITION_SP,
                slow = sym $slow)
        }
    };
}

helper! {
    /// `Helper::MonitorEnter`.
    monitor_enter, enter_thin, super::super::objects::monitor_enter
}
helper! {
    /// `Helper::MonitorExit`.
    monitor_exit, exit_thin, super::super::objects::monitor_exit
}

macro_rules! front {
    ($(#[$doc:meta])* $name:ident, $slow:ident, $fast:ident, $($end:literal),+) => {
        static $slow: AtomicUsize = AtomicUsize::new(0);

        $(#[$doc])*
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            naked_asm!(
                $fast!(), $($end,)+
                "9: jmp [rip + {slow}]",
                lock_id = const THREAD_LOCK_ID,
                busy = const BUSY,
                recursion = const RECURSION_MASK,
                one = const RECURSION_ONE,
                slow = sym $slow)
        }
    };
}

front! {
    /// `Monitor.Enter(object)`.
    enter, ENTER_SLOW, enter_thin, "ret"
}
front! {
    /// `Monitor.ReliableEnter(object, ref bool)`: tells that the lock was taken.
    reliable_enter, RELIABLE_ENTER_SLOW, enter_thin, "mov byte ptr [rsi], 1", "ret"
}
front! {
    /// `Monitor.Exit(object)`.
    exit, EXIT_SLOW, exit_thin, "ret"
}

static HASH_SLOW: AtomicUsize = AtomicUsize::new(0);
static TRY_HASH_SLOW: AtomicUsize = AtomicUsize::new(0);

macro_rules! hash_front {
    ($name:ident, $slow:ident) => {
        /// The identity hash code, if the sync word holds it.
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            naked_asm!(
                "test rdi, rdi", "jz 9f",
                "mov eax, [rdi - 4]",
                "mov ecx, eax",
                "not ecx",
                "test ecx, {hash}",
                "jnz 9f",
                "and eax, {mask}",
                "ret",
                "9: jmp [rip + {slow}]",
                hash = const IS_HASH_OR_INDEX | IS_HASH,
                mask = const VALUE_MASK,
                slow = sym $slow)
        }
    };
}
hash_front!(hash_code, HASH_SLOW);
hash_front!(try_hash_code, TRY_HASH_SLOW);

const MONITOR: &str = "System.Threading.Monitor";
const RUNTIME_HELPERS: &str = "System.Runtime.CompilerServices.RuntimeHelpers";

pub(super) static FRONTS: &[Front] = &[
    Front {
        class: MONITOR,
        method: "Enter",
        code: enter,
        slow: &ENTER_SLOW,
    },
    Front {
        class: MONITOR,
        method: "ReliableEnter",
        code: reliable_enter,
        slow: &RELIABLE_ENTER_SLOW,
    },
    Front {
        class: MONITOR,
        method: "Exit",
        code: exit,
        slow: &EXIT_SLOW,
    },
    Front {
        class: RUNTIME_HELPERS,
        method: "GetHashCode",
        code: hash_code,
        slow: &HASH_SLOW,
    },
    Front {
        class: RUNTIME_HELPERS,
        method: "TryGetHashCode",
        code: try_hash_code,
        slow: &TRY_HASH_SLOW,
    },
];
