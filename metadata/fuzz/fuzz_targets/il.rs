//! Any bytes as IL.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| corten_metadata::fuzzing::il(data));
