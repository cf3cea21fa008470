//! Any bytes as an image with precompiled code: read all of it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    corten_r2r::fuzzing::image(data);
});
