//! Damaged images: every mutation of a small assembly must be read or refused, quickly and in little memory.
//!
//! The mutations are the same on every run. Raise `CORTEN_MUTATIONS` for a longer run.

use corten_metadata::fuzzing;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const FIXTURE: &[u8] = include_bytes!("fixtures/features.dll");
/// Longest time one image may take. Generous: tests run beside others.
const TIME_LIMIT: Duration = Duration::from_secs(2);
/// Most memory one image may need, bytes.
const MEMORY_LIMIT: usize = 64 << 20;

/// Counts what is allocated, to see allocations sized by unchecked counts.
struct Counting;

static CURRENT: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is forwarded to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = CURRENT.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's contract is the same as ours.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        CURRENT.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the pointer came from `alloc` above with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// xorshift64*
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 16) as usize % limit.max(1)
    }
}

const INTERESTING: [u32; 14] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x1_0000,
    0x00ff_ffff,
    0x1fff_ffff,
    0x7fff_ffff,
    0xffff_ffff,
];

fn mutate(random: &mut Random) -> Vec<u8> {
    let mut image = FIXTURE.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(image.len());
        match random.below(8) {
            0 => image[at] ^= 1 << random.below(8),
            1 => image[at] = random.next() as u8,
            2 | 3 => {
                let value = INTERESTING[random.below(INTERESTING.len())].to_le_bytes();
                let width = [1, 2, 4][random.below(3)];
                for (b, v) in image[at..].iter_mut().zip(&value[..width]) {
                    *b = *v;
                }
            }
            4 => {
                let len = random.below(64);
                let fill = [0, 0xff, 0x1d, 0x15][random.below(4)];
                image[at..].iter_mut().take(len).for_each(|b| *b = fill);
            }
            5 => {
                let (from, len) = (random.below(image.len()), random.below(64));
                let copy: Vec<u8> = image[from..].iter().take(len).copied().collect();
                for (b, v) in image[at..].iter_mut().zip(copy) {
                    *b = v;
                }
            }
            6 => {
                // A small change of a little-endian number.
                let delta = random.below(9) as u8;
                image[at] = image[at].wrapping_add(delta).wrapping_sub(4);
            }
            _ if random.below(8) == 0 => image.truncate(at.max(1)),
            _ => image[at] = image[at].wrapping_add(1),
        }
    }
    image
}

/// Runs one input under the limits.
fn check(what: &str, run: impl FnOnce()) {
    let before = CURRENT.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let start = Instant::now();
    run();
    let (time, memory) = (start.elapsed(), PEAK.load(Ordering::Relaxed) - before);
    assert!(time < TIME_LIMIT, "{what}: took {time:?}");
    assert!(memory < MEMORY_LIMIT, "{what}: needed {memory} bytes");
}

/// One test, so that nothing else allocates meanwhile.
#[test]
fn damaged_input_is_survived() {
    hostile_blobs();
    let rounds = std::env::var("CORTEN_MUTATIONS")
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(3000);
    assert!(fuzzing::image(FIXTURE));
    let mut accepted = 0;
    for seed in 1..=rounds {
        let image = mutate(&mut Random(seed));
        check(&format!("mutation {seed}"), || {
            accepted += u32::from(fuzzing::image(&image))
        });
    }
    // Some mutations hit padding or code that stays valid; most must be noticed.
    println!("{accepted} of {rounds} accepted");

    for length in (0..FIXTURE.len()).step_by(61) {
        check(&format!("first {length} bytes"), || {
            fuzzing::image(&FIXTURE[..length]);
        });
    }

    for seed in 1..=rounds {
        let mut random = Random(seed << 20 | 1);
        let small = seed % 2 == 0; // small values reach deeper: most element types and opcodes are small
        let len = random.below(200);
        let data: Vec<u8> = (0..len)
            .map(|_| random.next() as u8 & if small { 0x1f } else { 0xff })
            .collect();
        check(&format!("bytes {seed}"), || {
            fuzzing::signature(&data);
            fuzzing::il(&data);
        });
    }
}

/// Blobs made to exhaust stack or memory.
fn hostile_blobs() {
    for byte in 0..=0xff {
        let data = vec![byte; 1 << 18];
        check(&format!("only {byte:#x}"), || {
            fuzzing::signature(&data);
            fuzzing::il(&data);
        });
    }
    // Generic arguments inside generic arguments, each list claiming many.
    let nested: Vec<u8> = [0x15, 0x12, 0x05, 0x80, 0x80].repeat(1 << 14);
    check("nested generic arguments", || fuzzing::signature(&nested));
}
