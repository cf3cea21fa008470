//! Damaged modules: the verifier neither panics nor runs on.

use std::time::{Duration, Instant};

use corten_metadata::{Module, TableId};
use corten_verifier::{Options, ReferencePath, Universe, verify};

use crate::support::{fixtures, framework};

/// Xorshift: the same damage on every run.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }
}

/// Where the code of methods lies in an image.
fn code_ranges(original: &[u8]) -> Vec<std::ops::Range<usize>> {
    let module = Module::from_bytes(original, "fixture").expect("the fixture");
    let start = module.image_bytes().as_ptr() as usize;
    let rows = 1..=module.row_count(TableId::MethodDef);
    let bodies = rows.filter_map(|rid| module.method_body(rid).ok().flatten());
    bodies
        .map(|body| {
            let at = body.code.as_ptr() as usize - start;
            at..at + body.code.len()
        })
        .collect()
}

/// Changes some bytes, of these ranges if there are any.
fn damage(original: &[u8], ranges: &[std::ops::Range<usize>], random: &mut Random) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..=random.next(if ranges.is_empty() { 6 } else { 30 }) {
        let at = match ranges.get(random.next(ranges.len())) {
            Some(range) => range.start + random.next(range.len()),
            // The headers are the reader's business; what lies behind them is ours too.
            None => 0x200 + random.next(bytes.len() - 0x200),
        };
        bytes[at] = match random.next(4) {
            0 => 0,
            1 => 0xff,
            2 => bytes[at].wrapping_add(1),
            _ => random.next(256) as u8,
        };
    }
    bytes
}

#[test]
fn damage_is_survived() {
    let Some(framework) = framework() else { return };
    let rounds: usize = std::env::var("CORTEN_MUTATIONS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(300);
    let mut references = ReferencePath::new();
    references.add(&framework).expect("the class library can be listed");
    let threads = std::num::NonZeroUsize::new(1);
    let deadline = Instant::now() + Duration::from_secs(600);
    for name in ["rules.dll", "safe.dll"] {
        let original = std::fs::read(fixtures().join(name)).expect("the fixture");
        for ranges in [Vec::new(), code_ranges(&original)] {
            let mut random = Random(0x9e37_79b9_7f4a_7c15);
            for round in 0..rounds {
                let bytes = damage(&original, &ranges, &mut random);
                let Ok(module) = Module::from_bytes(bytes, name) else {
                    continue;
                };
                let started = Instant::now();
                let Ok(universe) = Universe::new(vec![module.into()], &references) else {
                    continue;
                };
                let options = Options {
                    threads,
                    ..Options::default()
                };
                verify(&universe, &options);
                let took = started.elapsed();
                assert!(took < Duration::from_secs(20), "round {round} of {name} took {took:?}");
                assert!(
                    Instant::now() < deadline,
                    "only {round} rounds of {name} in ten minutes"
                );
            }
        }
    }
}
