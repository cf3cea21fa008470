//! Mock runtime for tests and benches: types, a thread with a root area, a root provider.
#![allow(
    dead_code,
    missing_docs,
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used,
    clippy::boxed_local,
    clippy::expect_used
)]

use std::ptr;
use std::sync::{Mutex, MutexGuard, OnceLock};

use corten_gc_hooks::gcdesc::GcDesc;
use corten_gc_hooks::object::mt_flags;
use corten_gc_hooks::{
    AllocFlags, Heap, HeapConfig, MethodTableHeader, ObjPtr, RootProvider, RootVisitor, StressMode, ThreadHeader,
    ThreadRegistry, corten_write_barrier,
};

/// Makes a MethodTable with a descriptor in front of it; never freed.
pub fn make_type(flags: u32, base_size: u32, desc: &GcDesc) -> *const MethodTableHeader {
    let mut words = desc.encode(base_size);
    let flags = if words.is_empty() {
        flags
    } else {
        flags | mt_flags::CONTAINS_GC_POINTERS
    };
    let prefix = words.len();
    words.resize(prefix + 8 + 4, 0);
    let memory = Box::leak(words.into_boxed_slice());
    let mt = memory[prefix..].as_mut_ptr().cast::<MethodTableHeader>();
    unsafe {
        (*mt).flags = flags;
        (*mt).base_size = base_size;
    }
    mt
}

pub struct Types {
    /// { ref a; ref b; long value }
    pub node: *const MethodTableHeader,
    /// ref[]
    pub refs: *const MethodTableHeader,
    /// byte[]
    pub bytes: *const MethodTableHeader,
    /// string
    pub string: *const MethodTableHeader,
    /// struct { long x; ref a; ref b; long y; ref c }[]
    pub structs: *const MethodTableHeader,
    /// node with a finalizer
    pub finalizable: *const MethodTableHeader,
    /// node with a critical finalizer
    pub critical: *const MethodTableHeader,
    /// { handle }, whose eager finalizer ends the handle
    pub weak: *const MethodTableHeader,
}

unsafe impl Sync for Types {}
unsafe impl Send for Types {}

pub fn types() -> &'static Types {
    static TYPES: OnceLock<Types> = OnceLock::new();
    TYPES.get_or_init(|| {
        let node = GcDesc::from_offsets(&[8, 16]);
        let none = GcDesc::Fixed(Vec::new());
        Types {
            node: make_type(0x200, 40, &node),
            refs: make_type(0x800A_0008, 24, &GcDesc::RefArray { data_offset: 16 }),
            bytes: make_type(0x800A_0001, 24, &none),
            string: make_type(0x8000_0002, 22, &none),
            structs: make_type(0x800A_0028, 24, &GcDesc::for_struct_array(16, 40, &[8, 16, 32])),
            finalizable: make_type(0x200 | mt_flags::HAS_FINALIZER, 40, &node),
            critical: make_type(
                0x200 | mt_flags::HAS_FINALIZER | mt_flags::HAS_CRITICAL_FINALIZER,
                40,
                &node,
            ),
            weak: make_type(
                0x200 | mt_flags::HAS_FINALIZER | mt_flags::HAS_EAGER_FINALIZER,
                24,
                &none,
            ),
        }
    })
}

/// Roots of one test thread; `header` is first, as in the real runtime.
#[repr(C)]
pub struct TestThread {
    pub header: ThreadHeader,
    pub slots: Vec<ObjPtr>,
    pub byrefs: Vec<*mut u8>,
    pub conservative: Vec<usize>,
}

pub struct Provider;

static THREADS: Mutex<Vec<usize>> = Mutex::new(Vec::new());

impl RootProvider for Provider {
    fn visit_thread(&self, thread: *const ThreadHeader, visitor: &mut dyn RootVisitor) {
        if !THREADS.lock().unwrap().contains(&(thread as usize)) {
            return;
        }
        unsafe {
            let thread = &mut *thread.cast::<TestThread>().cast_mut();
            for slot in &mut thread.slots {
                visitor.slot(slot);
            }
            for slot in &mut thread.byrefs {
                visitor.byref(slot);
            }
            for &word in &thread.conservative {
                visitor.conservative(word);
            }
        }
    }

    fn visit_globals(&self, _: &mut dyn RootVisitor) {}

    fn finalize_eagerly(&self, obj: ObjPtr) {
        unsafe {
            let handle = std::mem::replace(&mut *obj.byte_add(8).cast::<usize>(), 0);
            Heap::get().handles().free(handle as *mut ObjPtr);
        }
    }
}

/// The process's heap for tests: small nursery, verifier on.
pub fn heap_with(config: HeapConfig) -> &'static Heap {
    if let Ok(heap) = Heap::init(config) {
        heap.set_root_provider(&Provider);
    }
    Heap::get()
}

pub fn test_heap() -> &'static Heap {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        heap_with(HeapConfig {
            nursery_size: 256 << 10,
            hard_limit: 0,
            stress: StressMode::Off,
            verify: true,
            concurrent: true,
        });
    });
    Heap::get()
}

/// The heap, its figures and the stress mode are the process's: tests that count on them run one at a time.
pub fn serial() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    test_heap();
    LOCK.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Attaches a test thread in cooperative mode.
pub fn attach(roots: usize) -> Box<TestThread> {
    let mut thread = Box::new(TestThread {
        header: ThreadHeader::new(),
        slots: vec![ptr::null_mut(); roots],
        byrefs: Vec::new(),
        conservative: Vec::new(),
    });
    THREADS.lock().unwrap().push(&raw mut *thread as usize);
    unsafe { ThreadRegistry::get().attach(&thread.header).unwrap() };
    ThreadRegistry::get().leave_preemptive(&thread.header);
    thread
}

pub fn detach(mut thread: Box<TestThread>) {
    ThreadRegistry::get().detach(&thread.header);
    THREADS
        .lock()
        .unwrap()
        .retain(|&other| other != &raw mut *thread as usize);
}

impl TestThread {
    pub fn node(&mut self, value: u64) -> ObjPtr {
        let obj = Heap::get().alloc_object(&self.header, types().node).unwrap();
        unsafe { *obj.byte_add(24).cast::<u64>() = value };
        obj
    }

    pub fn array(&mut self, mt: *const MethodTableHeader, length: usize) -> ObjPtr {
        Heap::get()
            .alloc_array(&self.header, mt, length, AllocFlags::empty())
            .unwrap()
    }

    pub fn collect(&mut self, generation: i32) {
        Heap::get().collect(&self.header, generation);
    }
}

pub fn field(obj: ObjPtr, offset: usize) -> ObjPtr {
    unsafe { *obj.byte_add(offset).cast::<ObjPtr>() }
}

pub fn set_field(obj: ObjPtr, offset: usize, value: ObjPtr) {
    unsafe { corten_write_barrier(obj.byte_add(offset).cast(), value) };
}

pub fn value_of(obj: ObjPtr) -> u64 {
    unsafe { *obj.byte_add(24).cast::<u64>() }
}

/// Small deterministic generator (xorshift).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
