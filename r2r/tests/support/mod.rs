//! The images of the framework.

use corten_metadata::Module;
use corten_r2r::Image;

/// Calls `check` for each image with code, and says whether there is a framework.
pub fn for_each_image(mut check: impl FnMut(&Image<'_>, &str)) -> bool {
    let Some(dir) = corten_metadata::testing::framework_dir() else {
        println!("skipped: no framework on this machine");
        return false;
    };
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "dll") {
            continue;
        }
        let Ok(module) = Module::open(&path) else { continue };
        if let Some(image) = Image::open(&module).unwrap() {
            check(&image, path.file_stem().unwrap().to_str().unwrap());
        }
    }
    true
}
