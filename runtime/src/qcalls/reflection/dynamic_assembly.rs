//! `AppDomain_CreateDynamicAssembly`: an assembly without file. Its image is written here: one module with the type
//! `<Module>` and nothing else (ECMA-335 II.22, II.24, II.25), which is what `DynamicMethod` needs to live in.

use super::assembly::NativeNameParts;
use super::handles::ObjectHandle;
use super::load_context::{binder, next_context_id};
use crate::error::qcall_body;
use crate::qcall_table;
use crate::reflection_objects::assembly_object;
use corten_loader::{Assembly, AssemblyName};
use parking_lot::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Name of the module, as CoreCLR calls it.
const MODULE_NAME: &str = "RefEmit_InMemoryManifestModule";

static DYNAMIC: RwLock<Vec<usize>> = RwLock::new(Vec::new());

/// Whether an assembly was made by [`AppDomain_CreateDynamicAssembly`](TABLE).
pub fn is_dynamic(assembly: &'static Assembly) -> bool {
    assembly.is_dynamic() || DYNAMIC.read().contains(&(std::ptr::from_ref(assembly) as usize))
}

/// Little-endian writer.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn u16(&mut self, v: u16) -> &mut Self {
        self.0.extend_from_slice(&v.to_le_bytes());
        self
    }
    fn u32(&mut self, v: u32) -> &mut Self {
        self.0.extend_from_slice(&v.to_le_bytes());
        self
    }
    fn u64(&mut self, v: u64) -> &mut Self {
        self.0.extend_from_slice(&v.to_le_bytes());
        self
    }
    fn raw(&mut self, v: &[u8]) -> &mut Self {
        self.0.extend_from_slice(v);
        self
    }
    fn pad_to(&mut self, alignment: usize) -> &mut Self {
        let length = self.0.len().next_multiple_of(alignment);
        self.0.resize(length, 0);
        self
    }
}

/// Appends a string to a `#Strings` heap.
fn string(heap: &mut Vec<u8>, text: &str) -> u16 {
    if text.is_empty() {
        return 0;
    }
    let at = heap.len() as u16;
    heap.extend_from_slice(text.as_bytes());
    heap.push(0);
    at
}

fn metadata(name: &AssemblyName, mvid: u64) -> Vec<u8> {
    let mut strings = vec![0u8];
    let module = string(&mut strings, MODULE_NAME);
    let global = string(&mut strings, "<Module>");
    let assembly = string(&mut strings, &name.name);
    let culture = string(&mut strings, &name.culture);
    let mut tables = Bytes::default();
    tables.u32(0).raw(&[2, 0, 0, 1]);
    // Module, TypeDef and Assembly, one row each.
    tables.u64(1 | 1 << 0x02 | 1 << 0x20).u64(0).u32(1).u32(1).u32(1);
    tables.u16(0).u16(module).u16(1).u16(0).u16(0);
    tables.u32(0).u16(global).u16(0).u16(0).u16(1).u16(1);
    let (a, b, c, d) = name.version.unwrap_or_default();
    const SHA1: u32 = 0x8004;
    tables
        .u32(SHA1)
        .u16(a)
        .u16(b)
        .u16(c)
        .u16(d)
        .u32(0)
        .u16(0)
        .u16(assembly)
        .u16(culture);
    tables.pad_to(4);
    let mut guid = Bytes::default();
    guid.u64(mvid).u64(mvid.rotate_left(32) ^ 0x5bd1_e995_9e37_79b9);
    let mut strings = Bytes(strings);
    strings.pad_to(4);
    let streams: [(&[u8], &[u8]); 5] = [
        (b"#~\0\0", &tables.0),
        (b"#Strings\0\0\0\0", &strings.0),
        (b"#US\0", &[0, 0, 0, 0]),
        (b"#GUID\0\0\0", &guid.0),
        (b"#Blob\0\0\0", &[0, 0, 0, 0]),
    ];
    let mut root = Bytes::default();
    root.u32(0x424a_5342)
        .u16(1)
        .u16(1)
        .u32(0)
        .u32(12)
        .raw(b"v4.0.30319\0\0")
        .u16(0)
        .u16(streams.len() as u16);
    let mut at = root.0.len() + streams.iter().map(|(n, _)| 8 + n.len()).sum::<usize>();
    for (stream, data) in &streams {
        root.u32(at as u32).u32(data.len() as u32).raw(stream);
        at += data.len();
    }
    for (_, data) in &streams {
        root.raw(data);
    }
    root.0
}

/// A PE32 image with one section that holds the CLI header and `metadata`.
fn image(metadata: &[u8]) -> Vec<u8> {
    const SECTION_RVA: u32 = 0x2000;
    const FILE_ALIGNMENT: usize = 0x200;
    const CLI_HEADER_SIZE: u32 = 72;
    let size = CLI_HEADER_SIZE + metadata.len() as u32;
    let raw_size = (size as usize).next_multiple_of(FILE_ALIGNMENT) as u32;
    let mut pe = Bytes::default();
    pe.raw(b"MZ");
    pe.0.resize(0x3c, 0);
    pe.u32(0x80);
    pe.0.resize(0x80, 0);
    // COFF header: i386, one section, 32-bit DLL.
    pe.raw(b"PE\0\0")
        .u16(0x14c)
        .u16(1)
        .u32(0)
        .u32(0)
        .u32(0)
        .u16(0xe0)
        .u16(0x2102);
    // Optional header.
    pe.u16(0x10b)
        .raw(&[48, 0])
        .u32(raw_size)
        .u32(0)
        .u32(0)
        .u32(0)
        .u32(SECTION_RVA)
        .u32(0);
    pe.u32(0x1000_0000).u32(0x2000).u32(FILE_ALIGNMENT as u32);
    pe.u16(4).u16(0).u16(0).u16(0).u16(4).u16(0).u32(0);
    pe.u32(SECTION_RVA + (size.next_multiple_of(0x2000)))
        .u32(FILE_ALIGNMENT as u32)
        .u32(0)
        .u16(3)
        .u16(0x8540);
    pe.u32(0x10_0000).u32(0x1000).u32(0x10_0000).u32(0x1000).u32(0).u32(16);
    for directory in 0..16 {
        const CLI: i32 = 14;
        if directory == CLI {
            pe.u32(SECTION_RVA).u32(CLI_HEADER_SIZE);
        } else {
            pe.u32(0).u32(0);
        }
    }
    pe.raw(b".text\0\0\0")
        .u32(size)
        .u32(SECTION_RVA)
        .u32(raw_size)
        .u32(FILE_ALIGNMENT as u32);
    pe.u32(0).u32(0).u32(0).u32(0x6000_0020);
    pe.pad_to(FILE_ALIGNMENT);
    // CLI header: IL only.
    pe.u32(CLI_HEADER_SIZE)
        .u16(2)
        .u16(5)
        .u32(SECTION_RVA + CLI_HEADER_SIZE)
        .u32(metadata.len() as u32)
        .u32(1)
        .u32(0);
    pe.0.resize(FILE_ALIGNMENT + CLI_HEADER_SIZE as usize, 0);
    pe.raw(metadata).pad_to(FILE_ALIGNMENT);
    pe.0
}

extern "C" fn create_dynamic_assembly(
    _context: ObjectHandle,
    name: *const NativeNameParts,
    _hash: i32,
    _access: i32,
    result: ObjectHandle,
) {
    static MVID: AtomicU64 = AtomicU64::new(0x9e37_79b9_7f4a_7c15);
    qcall_body(|_| {
        // SAFETY: managed code passes a valid structure.
        let name = unsafe { (*name).to_name() };
        let mvid = MVID.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let bytes = image(&metadata(&name, mvid));
        // A context of its own: dynamic assemblies may share names, and no reference binds to them.
        let assembly = binder()?.load_from_bytes(bytes, &name.name, next_context_id())?;
        DYNAMIC.write().push(std::ptr::from_ref(assembly) as usize);
        result.set(assembly_object(assembly)?);
        Ok(())
    });
}

qcall_table! {
    /// Dynamic assembly QCalls.
    TABLE:
    "AppDomain_CreateDynamicAssembly" => create_dynamic_assembly,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_image_is_a_valid_module() {
        let name = AssemblyName {
            version: Some((1, 2, 3, 4)),
            ..AssemblyName::simple("Dyn")
        };
        let module = corten_metadata::Module::from_bytes(image(&metadata(&name, 7)), "Dyn").unwrap();
        let row = module.assembly().unwrap().unwrap();
        assert_eq!((row.name, row.version, row.culture), ("Dyn", (1, 2, 3, 4), ""));
        assert_eq!(module.module_row().unwrap().name, MODULE_NAME);
        assert_eq!(module.type_def(1).unwrap().name, "<Module>");
    }
}
