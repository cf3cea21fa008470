//! Thread static storage: per thread, one block of native memory per type that has thread statics, made on first use.

use crate::error::VmResult;
use crate::thread::Thread;
use corten_gc_hooks::RootVisitor;
use corten_gc_hooks::heap::Heap;
use corten_gc_hooks::object::ObjPtr;
use corten_loader::collectible::Collectible;
use corten_loader::statics::{ThreadStaticsLayout, ensure_thread_statics};
use corten_loader::{FieldDesc, MethodTable};
use std::cell::{Cell, RefCell};

/// The blocks of one thread, indexed by `ThreadStaticsLayout::index`.
#[repr(C)]
#[derive(Debug)]
pub struct ThreadStatics {
    /// The data of the addresses, for generated code.
    base: Cell<*const *mut u8>,
    /// Their size.
    bytes: Cell<usize>,
    /// (Borrowed where no safepoint can be reached, so that the collector finds it free.)
    tables: RefCell<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    /// Address of each block whose class is initialised, else null.
    addresses: Vec<*mut u8>,
    blocks: Vec<Option<Block>>,
}

/// Offset of the address of the table of blocks.
pub const BASE_OFFSET: usize = std::mem::offset_of!(ThreadStatics, base);
/// Offset of the size of that table in bytes.
pub const BYTES_OFFSET: usize = std::mem::offset_of!(ThreadStatics, bytes);

impl Default for ThreadStatics {
    fn default() -> ThreadStatics {
        ThreadStatics {
            base: Cell::new(std::ptr::null()),
            bytes: Cell::new(0),
            tables: RefCell::default(),
        }
    }
}

#[derive(Debug)]
struct Block {
    /// Zeroed 8-byte words; the box's address is stable.
    words: Box<[u64]>,
    layout: &'static ThreadStaticsLayout,
    /// Its references count while this group lives; else always.
    group: Option<&'static Collectible>,
}

impl Block {
    fn slots(&mut self) -> impl Iterator<Item = *mut ObjPtr> {
        let base = self.words.as_mut_ptr().cast::<u8>();
        let offsets = self.layout.ref_offsets.iter();
        offsets.map(move |offset| base.wrapping_add(*offset as usize).cast())
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.group.is_some() {
            self.slots()
                .for_each(|slot| Heap::get().unregister_anchored_refs(slot, 1));
        }
    }
}

impl ThreadStatics {
    /// Address of the block of a type on this thread.
    pub fn block(&self, layout: &'static ThreadStaticsLayout, group: Option<&'static Collectible>) -> *mut u8 {
        let i = layout.index as usize;
        let mut tables = self.tables.borrow_mut();
        if tables.blocks.len() <= i {
            tables.blocks.resize_with(i + 1, || None);
        }
        let block = tables.blocks[i].get_or_insert_with(|| {
            let mut block = Block {
                words: vec![0u64; (layout.size as usize).div_ceil(8) + 1].into_boxed_slice(),
                layout,
                group,
            };
            if let Some(group) = group {
                block
                    .slots()
                    .for_each(|slot| crate::collectible::register(group, slot, 1));
            }
            block
        });
        block.words.as_mut_ptr().cast()
    }

    /// Lets generated code find a block without asking.
    fn publish(&self, layout: &'static ThreadStaticsLayout, block: *mut u8) {
        let i = layout.index as usize;
        let addresses = &mut self.tables.borrow_mut().addresses;
        if addresses.len() <= i {
            addresses.resize(i + 1, std::ptr::null_mut());
        }
        addresses[i] = block;
        self.base.set(addresses.as_ptr());
        self.bytes.set(addresses.len() * size_of::<*mut u8>());
    }

    /// Frees all blocks, when their thread ends.
    pub fn clear(&self) {
        self.base.set(std::ptr::null());
        self.bytes.set(0);
        drop(self.tables.take());
    }

    /// Reports every reference.
    pub fn visit(&self, v: &mut dyn RootVisitor) {
        let mut tables = self.tables.borrow_mut();
        for block in tables.blocks.iter_mut().flatten().filter(|b| b.group.is_none()) {
            block.slots().for_each(|slot| v.slot(slot));
        }
    }
}

/// Address of a thread static field on the current thread; runs the class initialiser of its type if needed.
///
/// # Errors
/// What the initialiser throws, or a load error of the field's type.
pub fn address(thread: &Thread, field: &'static FieldDesc) -> VmResult<*mut u8> {
    let owner: &'static MethodTable = field.owner();
    crate::class_init::ensure(owner)?;
    let layout = ensure_thread_statics(owner)?;
    let class = owner.class();
    let block = thread.thread_statics.block(layout, class.collectible());
    // While this thread runs the initialiser it may still fail.
    if !class.has_cctor() || class.is_initialized() {
        thread.thread_statics.publish(layout, block);
    }
    Ok(block.wrapping_add(field.offset() as usize))
}
