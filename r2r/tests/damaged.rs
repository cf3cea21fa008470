//! Damaged images: whatever is wrong with the precompiled part, reading it ends, with an error or without.
//!
//! The damage is the same on every run. Raise `CORTEN_MUTATIONS` for a longer run.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use corten_metadata::Module;
use corten_r2r::{Image, SectionKind, fuzzing};

/// A small image with code of every kind.
const IMAGE: &str = "System.Net.Ping.dll";
/// Longest time one image may take. Generous: tests run beside others.
const TIME_LIMIT: Duration = Duration::from_secs(2);

/// xorshift64*
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) as usize % limit.max(1)
    }
}

/// File ranges of what is precompiled: the tables of the header, and the data behind the code, where unwind and GC info are.
fn targets(bytes: &[u8]) -> Vec<(usize, usize)> {
    let module = Module::from_bytes(bytes, IMAGE).unwrap();
    let image = Image::open(&module).unwrap().unwrap();
    let offset = |rva| module.pe().rva_to_offset(rva).unwrap();
    let mut ranges: Vec<_> = image
        .header()
        .sections
        .iter()
        .filter(|section| section.size > 0 && section.kind != SectionKind::CompilerIdentifier)
        .map(|section| (offset(section.rva), section.size as usize))
        .collect();
    let (header, size) = module.pe().managed_native_header().unwrap();
    ranges.push((offset(header), size as usize));
    for id in (0..image.functions().len() as u32).step_by(5) {
        let function = image.functions().get(corten_r2r::FunctionId(id)).unwrap();
        ranges.push((offset(function.unwind), 40));
    }
    for (section, cells) in image.imports().sections().iter().enumerate() {
        for slot in (0..cells.count).step_by(7) {
            let section = section as u32;
            if let Some(at) = image.imports().signature(corten_r2r::CellId { section, slot }).unwrap() {
                ranges.push((offset(at.rva()), 8));
            }
        }
    }
    ranges
}

#[test]
fn damaged_images_are_survived() {
    let Some(dir) = corten_metadata::testing::framework_dir() else {
        println!("skipped: no framework on this machine");
        return;
    };
    let original = std::fs::read(dir.join(IMAGE)).unwrap();
    assert!(fuzzing::image(&original));
    let targets = targets(&original);
    let rounds: u64 = std::env::var("CORTEN_MUTATIONS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(1000);
    let mut accepted = 0;
    for seed in 1..=rounds {
        let mut random = Random(seed);
        let mut bytes = original.clone();
        for _ in 0..=random.below(12) {
            let (start, size) = targets[random.below(targets.len())];
            let at = start + random.below(size);
            bytes[at] = match random.below(4) {
                0 => bytes[at] ^ 1 << random.below(8),
                1 => [0, 1, 0x7F, 0x80, 0xC0, 0xFF][random.below(6)],
                2 => bytes[at].wrapping_add(1),
                _ => random.below(256) as u8,
            };
        }
        let start = Instant::now();
        accepted += u64::from(fuzzing::image(&bytes));
        assert!(start.elapsed() < TIME_LIMIT, "seed {seed} took {:?}", start.elapsed());
    }
    println!("{accepted} of {rounds} could be opened");
    assert!(accepted > 0 && accepted < rounds);
}
