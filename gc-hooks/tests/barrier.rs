//! Barriers: the cards they mark and the registers they keep.
#![cfg(all(not(loom), target_arch = "x86_64"))]
#![allow(clippy::undocumented_unsafe_blocks, clippy::unwrap_used)]

mod support;

use std::arch::asm;

use corten_gc_hooks::{
    ObjPtr, bulk_move_with_barrier, compare_exchange_ref, corten_byref_write_barrier, corten_checked_write_barrier,
    exchange_ref,
};
use support::*;

fn card(address: ObjPtr) -> *mut u8 {
    test_heap().layout().card_of(address as usize)
}

#[test]
fn barriers_mark_cards_and_keep_registers() {
    test_heap();
    let mut thread = attach(3);
    thread.slots[0] = thread.array(types().refs, 1000);
    thread.collect(2);
    thread.slots[1] = thread.node(1);
    let (old, young) = (thread.slots[0], thread.slots[1]);
    let slot = |index: usize| unsafe { old.byte_add(16 + index * 8).cast::<ObjPtr>() };
    unsafe {
        // Old value: no card. Young value: card.
        set_field(old, 16, old);
        assert_eq!(*card(old), 0);
        set_field(old, 16, young);
        assert_eq!(*card(slot(0).cast()), 1);
        *card(slot(0).cast()) = 0;

        // The by-reference form advances both registers and clobbers rax and rcx only.
        let mut source = [young, old];
        let (mut to, mut from) = (slot(0) as usize, source.as_ptr() as usize);
        let mut out = [0u64; 9];
        asm!(
            "push rbx",
            "mov rbx, 3", "mov rdx, 4", "mov r8, 5", "mov r9, 6", "mov r10, 7", "mov r11, 8", "mov r12, 9",
            "mov r13, 10", "mov r14, 11",
            "sub rsp, 8",
            "call {barrier}",
            "call {barrier}",
            "add rsp, 8",
            "mov rax, rbx",
            "pop rbx",
            barrier = sym corten_byref_write_barrier,
            inout("rdi") to, inout("rsi") from,
            out("rax") out[0], out("rdx") out[1], out("r8") out[2], out("r9") out[3], out("r10") out[4],
            out("r11") out[5], out("r12") out[6], out("r13") out[7], out("r14") out[8], out("rcx") _,
        );
        let kept = [3, 4, 5, 6, 7, 8, 9, 10, 11];
        assert_eq!(out, kept);
        assert_eq!(to, slot(2) as usize);
        assert_eq!(from, source.as_ptr().add(2) as usize);
        assert_eq!((*slot(0), *slot(1)), (young, old));
        assert_eq!(*card(slot(0).cast()), 1);

        // Destinations outside of the heap are stored to and have no card.
        corten_checked_write_barrier(&raw mut source[1], young);
        assert_eq!(source[1], young);
        corten_checked_write_barrier(slot(500), young);
        assert_eq!(*card(slot(500).cast()), 1);

        // Atomic forms.
        *card(slot(700).cast()) = 0;
        assert!(exchange_ref(slot(700), old).is_null());
        assert_eq!(*card(slot(700).cast()), 0);
        assert_eq!(compare_exchange_ref(slot(700), young, young), old);
        assert_eq!(compare_exchange_ref(slot(700), young, old), old);
        assert_eq!(*slot(700), young);
        assert_eq!(*card(slot(700).cast()), 1);

        // Bulk moves that overlap, both ways.
        for i in 0..10 {
            *slot(800 + i) = (i * 8) as ObjPtr;
        }
        bulk_move_with_barrier(slot(802).cast(), slot(800).cast(), 64);
        assert!((0..8).all(|i| *slot(802 + i) as usize == i * 8));
        bulk_move_with_barrier(slot(800).cast(), slot(802).cast(), 64);
        assert!((0..8).all(|i| *slot(800 + i) as usize == i * 8));
        assert_eq!(*card(slot(803).cast()), 1);
        for i in 0..12 {
            *slot(800 + i) = std::ptr::null_mut();
        }
    }
    thread.collect(0);
    assert_eq!(value_of(field(old, 16)), 1);
    detach(thread);
}
