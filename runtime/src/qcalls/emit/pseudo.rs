//! Pseudo attributes (ECMA-335 II.21.2.1 and what .NET added): attributes that stand for flags and rows of metadata.

use corten_metadata::sig::SigReader;
use corten_metadata::writer::Writer;
use corten_metadata::writer::compress;
use corten_metadata::{TableId, Token};

/// A value in an attribute's blob.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Number(u32),
    Text(String),
}

/// Cursor over an attribute's blob (ECMA-335 II.23.3).
struct Blob<'a> {
    rest: &'a [u8],
}

impl Blob<'_> {
    fn number(&mut self, size: usize) -> Option<u32> {
        let (bytes, rest) = self.rest.split_at_checked(size)?;
        self.rest = rest;
        let mut word = [0; 4];
        word[..size.min(4)].copy_from_slice(&bytes[..size.min(4)]);
        Some(u32::from_le_bytes(word))
    }
    fn text(&mut self) -> Option<String> {
        if let Some(rest) = self.rest.strip_prefix(&[0xff]) {
            self.rest = rest;
            return Some(String::new());
        }
        let mut reader = SigReader::new(self.rest);
        let length = reader.unsigned().ok()? as usize;
        let start = reader.position();
        let bytes = self.rest.get(start..start.checked_add(length)?)?;
        self.rest = &self.rest[start + length..];
        Some(String::from_utf8_lossy(bytes).into_owned())
    }
    /// A named argument: its name and value.
    fn named(&mut self) -> Option<(String, Value)> {
        const BOOLEAN: u32 = 0x02;
        const I2: u32 = 0x06;
        const I4: u32 = 0x08;
        const STRING: u32 = 0x0e;
        const TYPE: u32 = 0x50;
        const ENUM: u32 = 0x55;
        self.number(1)?;
        let kind = self.number(1)?;
        if kind == ENUM {
            self.text()?;
        }
        let name = self.text()?;
        let value = match kind {
            BOOLEAN => Value::Number(self.number(1)?),
            I2 => Value::Number(self.number(2)?),
            I4 | ENUM => Value::Number(self.number(4)?),
            STRING | TYPE => Value::Text(self.text()?),
            _ => return None,
        };
        Some((name, value))
    }
}

/// Arguments of an attribute.
struct Arguments {
    named: Vec<(String, Value)>,
}

impl Arguments {
    fn rest(blob: &mut Blob<'_>) -> Option<Arguments> {
        let count = blob.number(2)?;
        let named = (0..count).map(|_| blob.named()).collect::<Option<_>>()?;
        Some(Arguments { named })
    }
    fn number(&self, name: &str) -> Option<u32> {
        self.named.iter().find(|n| n.0 == name).and_then(|n| match &n.1 {
            Value::Number(v) => Some(*v),
            Value::Text(_) => None,
        })
    }
    fn flag(&self, name: &str) -> Option<bool> {
        self.number(name).map(|v| v != 0)
    }
    fn text(&self, name: &str) -> Option<&str> {
        self.named.iter().find(|n| n.0 == name).and_then(|n| match &n.1 {
            Value::Text(t) => Some(t.as_str()),
            Value::Number(_) => None,
        })
    }
}

/// Namespace and name of the class of an attribute constructor, as far as it is of another module; and the size of its first
/// parameter if that is a number.
fn class_of(w: &Writer, ctor: Token) -> Option<(String, String, usize)> {
    const TYPE_REF: u32 = 1;
    const I2: u8 = 0x06;
    if !ctor.is(TableId::MemberRef) {
        return None;
    }
    let parent = w.cell(ctor, 0);
    if parent & 7 != TYPE_REF {
        return None;
    }
    let class = Token::new(TableId::TypeRef, parent >> 3);
    let signature = w.blob_at(w.cell(ctor, 2));
    let size = match signature.as_slice() {
        [_, 0, ..] | [] => 0,
        [_, _, _, I2, ..] => 2,
        _ => 4,
    };
    Some((w.string_at(w.cell(class, 2)), w.string_at(w.cell(class, 1)), size))
}

fn add_flags(w: &mut Writer, on: Token, column: usize, flags: u32) {
    let old = w.cell(on, column);
    w.set(on, column, old | flags);
}

/// Replaces the row of `table` that belongs to `key`, or adds it.
fn upsert(w: &mut Writer, table: TableId, key_column: usize, cells: &[u32]) {
    match w.find(table, key_column, cells[key_column]) {
        Some(row) => cells.iter().enumerate().for_each(|(i, c)| w.set(row, i, *c)),
        None => drop(w.add(table, cells)),
    }
}

/// Writes what a pseudo attribute stands for. Returns whether it was one, and so is no custom attribute.
pub(super) fn translate(w: &mut Writer, on: Token, ctor: Token, value: &[u8]) -> bool {
    let Some((namespace, name, first)) = class_of(w, ctor) else {
        return false;
    };
    let Some(rest) = value.strip_prefix(&[1, 0]) else {
        return false;
    };
    let blob = Blob { rest };
    let done = match (namespace.as_str(), name.as_str()) {
        ("System", "SerializableAttribute") => flag(w, on, &[(TableId::TypeDef, 0, 0x2000)]),
        ("System", "NonSerializedAttribute") => flag(w, on, &[(TableId::Field, 0, 0x80)]),
        ("System.Runtime.CompilerServices", "SpecialNameAttribute") => flag(
            w,
            on,
            &[
                (TableId::TypeDef, 0, 0x400),
                (TableId::MethodDef, 2, 0x800),
                (TableId::Field, 0, 0x200),
                (TableId::Property, 0, 0x200),
                (TableId::Event, 0, 0x200),
            ],
        ),
        ("System.Runtime.CompilerServices", "MethodImplAttribute") => method_impl(w, on, blob, first),
        ("System.Runtime.InteropServices", "ComImportAttribute") => flag(w, on, &[(TableId::TypeDef, 0, 0x1000)]),
        ("System.Runtime.InteropServices", "PreserveSigAttribute") => flag(w, on, &[(TableId::MethodDef, 1, 0x80)]),
        ("System.Runtime.InteropServices", "InAttribute") => flag(w, on, &[(TableId::Param, 0, 1)]),
        ("System.Runtime.InteropServices", "OutAttribute") => flag(w, on, &[(TableId::Param, 0, 2)]),
        ("System.Runtime.InteropServices", "OptionalAttribute") => flag(w, on, &[(TableId::Param, 0, 0x10)]),
        ("System.Runtime.InteropServices", "FieldOffsetAttribute") => field_offset(w, on, blob),
        ("System.Runtime.InteropServices", "StructLayoutAttribute") => struct_layout(w, on, blob, first),
        ("System.Runtime.InteropServices", "DllImportAttribute") => dll_import(w, on, blob),
        ("System.Runtime.InteropServices", "MarshalAsAttribute") => marshal_as(w, on, blob, first),
        _ => None,
    };
    done.is_some()
}

fn flag(w: &mut Writer, on: Token, places: &[(TableId, usize, u32)]) -> Option<()> {
    let (_, column, bits) = places.iter().find(|p| on.is(p.0))?;
    add_flags(w, on, *column, *bits);
    Some(())
}

fn method_impl(w: &mut Writer, on: Token, mut blob: Blob<'_>, size: usize) -> Option<()> {
    if !on.is(TableId::MethodDef) {
        return None;
    }
    let options = blob.number(size)?;
    let code_type = Arguments::rest(&mut blob)?.number("MethodCodeType").unwrap_or(0);
    add_flags(w, on, 1, options | code_type);
    Some(())
}

fn field_offset(w: &mut Writer, on: Token, mut blob: Blob<'_>) -> Option<()> {
    if !on.is(TableId::Field) {
        return None;
    }
    let offset = blob.number(4)?;
    upsert(w, TableId::FieldLayout, 1, &[offset, on.rid()]);
    Some(())
}

/// Type attributes of a character set, and whether it is one.
fn string_format(char_set: u32) -> u32 {
    match char_set {
        3 => 0x1_0000,
        4 => 0x2_0000,
        _ => 0,
    }
}

fn struct_layout(w: &mut Writer, on: Token, mut blob: Blob<'_>, size: usize) -> Option<()> {
    const LAYOUT_MASK: u32 = 0x18;
    const FORMAT_MASK: u32 = 0x3_0000;
    if !on.is(TableId::TypeDef) {
        return None;
    }
    let layout = match blob.number(size)? {
        0 => 0x08,
        2 => 0x10,
        _ => 0,
    };
    let arguments = Arguments::rest(&mut blob)?;
    let mut flags = w.cell(on, 0) & !LAYOUT_MASK | layout;
    if let Some(set) = arguments.number("CharSet") {
        flags = flags & !FORMAT_MASK | string_format(set);
    }
    w.set(on, 0, flags);
    let (pack, bytes) = (arguments.number("Pack"), arguments.number("Size"));
    if pack.is_some() || bytes.is_some() {
        let cells = [pack.unwrap_or(0), bytes.unwrap_or(0), on.rid()];
        upsert(w, TableId::ClassLayout, 2, &cells);
    }
    Some(())
}

fn dll_import(w: &mut Writer, on: Token, mut blob: Blob<'_>) -> Option<()> {
    const PINVOKE_IMPL: u32 = 0x2000;
    const PRESERVE_SIG: u32 = 0x80;
    if !on.is(TableId::MethodDef) {
        return None;
    }
    let dll = blob.text()?;
    let a = Arguments::rest(&mut blob)?;
    // CallingConvention counts from Winapi = 1, CharSet as the mapping flags do.
    let mut flags = a.number("CallingConvention").unwrap_or(1) << 8;
    flags |= match a.number("CharSet") {
        Some(set @ 2..=4) => (set - 1) << 1,
        _ => 0,
    };
    let switches = [
        ("ExactSpelling", 1, 0),
        ("SetLastError", 0x40, 0),
        ("BestFitMapping", 0x10, 0x20),
        ("ThrowOnUnmappableChar", 0x1000, 0x2000),
    ];
    for (name, on_bits, off_bits) in switches {
        flags |= match a.flag(name) {
            Some(true) => on_bits,
            Some(false) => off_bits,
            None => 0,
        };
    }
    let entry = match a.text("EntryPoint") {
        Some(text) => w.string(text),
        None => w.cell(on, 3),
    };
    let dll = w.string(&dll);
    let scope = w.add_unique(TableId::ModuleRef, &[dll]).rid();
    upsert(
        w,
        TableId::ImplMap,
        1,
        &[flags, Writer::forwarded_cell(on), entry, scope],
    );
    add_flags(w, on, 2, PINVOKE_IMPL);
    if a.flag("PreserveSig").unwrap_or(true) {
        add_flags(w, on, 1, PRESERVE_SIG);
    }
    Some(())
}

/// `UnmanagedType` values with more than their own byte (ECMA-335 II.23.4).
mod native {
    pub const BY_VAL_TSTR: u32 = 0x17;
    pub const BY_VAL_ARRAY: u32 = 0x1e;
    pub const LP_ARRAY: u32 = 0x2a;
    pub const CUSTOM: u32 = 0x2c;
    /// No element type is given.
    pub const MAX: u32 = 0x50;
}

fn marshal_as(w: &mut Writer, on: Token, mut blob: Blob<'_>, size: usize) -> Option<()> {
    let has_marshal = match on.table() {
        Some(TableId::Field) => 0x1000,
        Some(TableId::Param) => 0x2000,
        _ => return None,
    };
    let kind = blob.number(size)?;
    let a = Arguments::rest(&mut blob)?;
    let mut out = Vec::new();
    compress(&mut out, kind);
    match kind {
        native::BY_VAL_TSTR => compress(&mut out, a.number("SizeConst").unwrap_or(0)),
        native::BY_VAL_ARRAY => {
            compress(&mut out, a.number("SizeConst").unwrap_or(1));
            if let Some(element) = a.number("ArraySubType") {
                compress(&mut out, element);
            }
        }
        native::LP_ARRAY => {
            let (index, count) = (a.number("SizeParamIndex"), a.number("SizeConst"));
            compress(&mut out, a.number("ArraySubType").unwrap_or(native::MAX));
            if index.is_some() || count.is_some() {
                compress(&mut out, index.unwrap_or(0));
            }
            if let Some(count) = count {
                compress(&mut out, count);
                // Whether the index counts.
                compress(&mut out, u32::from(index.is_some()));
            }
        }
        native::CUSTOM => {
            let class = a.text("MarshalType").or_else(|| a.text("MarshalTypeRef")).unwrap_or("");
            for text in ["", "", class, a.text("MarshalCookie").unwrap_or("")] {
                compress(&mut out, text.len() as u32);
                out.extend_from_slice(text.as_bytes());
            }
        }
        _ => {}
    }
    let parent = Writer::field_marshal_cell(on);
    let native_type = w.blob(&out);
    upsert(w, TableId::FieldMarshal, 0, &[parent, native_type]);
    add_flags(w, on, 0, has_marshal);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A writer with `Namespace.Name..ctor` of another module, and that constructor's token.
    fn with_attribute(namespace: &str, name: &str, signature: &[u8]) -> (Writer, Token) {
        let mut w = Writer::default();
        let (ns, n, ctor) = (w.string(namespace), w.string(name), w.string(".ctor"));
        let class = w.add(TableId::TypeRef, &[0, n, ns]);
        let sig = w.blob(signature);
        let parent = Writer::member_parent_cell(class);
        let ctor = w.add(TableId::MemberRef, &[parent, ctor, sig]);
        (w, ctor)
    }

    #[test]
    fn a_layout_becomes_flags_and_a_row() {
        let (mut w, ctor) = with_attribute(
            "System.Runtime.InteropServices",
            "StructLayoutAttribute",
            &[0x20, 1, 1, 0x11, 5],
        );
        let ty = w.add(TableId::TypeDef, &[0x08]);
        let mut value = vec![1, 0, 2, 0, 0, 0, 1, 0, 0x53, 0x08, 4];
        value.extend_from_slice(b"Size\x20\0\0\0");
        assert!(translate(&mut w, ty, ctor, &value));
        assert_eq!(w.cell(ty, 0), 0x10);
        let row = w.find(TableId::ClassLayout, 2, ty.rid());
        assert_eq!(row.map(|r| (w.cell(r, 0), w.cell(r, 1))), Some((0, 32)));
    }

    #[test]
    fn other_attributes_stay_and_damage_is_survived() {
        let (mut w, ctor) = with_attribute("System", "ObsoleteAttribute", &[0x20, 0, 1]);
        let ty = w.add(TableId::TypeDef, &[0]);
        assert!(!translate(&mut w, ty, ctor, &[1, 0, 0, 0]));
        let (mut w, ctor) = with_attribute(
            "System.Runtime.InteropServices",
            "DllImportAttribute",
            &[0x20, 1, 1, 0x0e],
        );
        let method = w.add(TableId::MethodDef, &[0, 0, 0, 0, 0]);
        assert!(!translate(&mut w, method, ctor, &[1, 0, 9, b'a']));
        assert!(translate(&mut w, method, ctor, &[1, 0, 1, b'a', 0, 0]));
        assert_eq!(w.cell(method, 2), 0x2000);
    }
}
