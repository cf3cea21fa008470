//! The genuine framework: most of its images carry usable code, the facades none.

use corten_metadata::Module;

#[test]
fn framework_headers() {
    let Some(dir) = corten_metadata::testing::framework_dir() else {
        println!("skipped: no framework on this machine");
        return;
    };
    let mut with_code = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "dll") {
            continue;
        }
        let Ok(module) = Module::open(&path) else { continue };
        if let Some(header) = corten_r2r::Header::read(&module).unwrap() {
            assert_eq!(header.rejection(), None, "{}", path.display());
            assert_eq!((header.major, header.minor), (10, 1), "{}", path.display());
            with_code += 1;
        }
    }
    assert!(with_code > 80, "{with_code} images with code");
}
