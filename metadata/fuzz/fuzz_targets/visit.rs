//! Any bytes as an image: open, visit, print.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    corten_metadata::fuzzing::image(data);
});
