//! Any bytes as every kind of signature and as a custom attribute value.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| corten_metadata::fuzzing::signature(data));
