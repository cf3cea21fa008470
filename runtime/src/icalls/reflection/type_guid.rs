//! GUIDs of types without `[Guid]`: name-based UUIDs (RFC 4122, version 3) of what CoreCLR hashes.

use corten_loader::TypeDefInfo;
use md5::{Digest, Md5};

/// The name space of all names, `{69F9CBC9-DA05-11D1-9408-0000F8083460}`, in network order.
const NAME_SPACE: [u8; 16] = [
    0x69, 0xf9, 0xcb, 0xc9, 0xda, 0x05, 0x11, 0xd1, 0x94, 0x08, 0x00, 0x00, 0xf8, 0x08, 0x34, 0x60,
];

/// The GUID of a definition (all instantiations share it), as `System.Guid` lies in memory. A class or value type is named by its
/// full name and its assembly, an interface by its full name; CoreCLR adds an interface's methods, which this does not, so that
/// only those of interfaces without methods agree.
pub fn of_definition(definition: &'static TypeDefInfo) -> [u8; 16] {
    let mut name = utf16(&definition.full_name());
    if !definition.is_interface() {
        add_assembly(&mut name, definition);
    }
    from_name(name)
}

/// Adds the assembly's lower-case name, its version (the major number twice, and the minor number unless it is 0) and public key.
fn add_assembly(name: &mut Vec<u8>, definition: &'static TypeDefInfo) {
    let Ok(Some(row)) = definition.module().metadata().assembly() else {
        return;
    };
    let text: String = row
        .name
        .chars()
        .map(|c| match c {
            '.' | ' ' => '_',
            c => c.to_ascii_lowercase(),
        })
        .collect();
    name.extend(utf16(&text));
    name.extend(b"TypeLib");
    let (major, minor, build, revision) = row.version;
    for part in [major, major, build, revision] {
        name.extend(part.to_le_bytes());
    }
    if minor != 0 {
        name.extend(minor.to_le_bytes());
    }
    name.extend(row.public_key);
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// The GUID of a name, which is made a whole number of UTF-16 units.
fn from_name(mut name: Vec<u8>) -> [u8; 16] {
    if !name.len().is_multiple_of(2) {
        name.push(0);
    }
    let mut message = NAME_SPACE.to_vec();
    message.extend(name);
    let mut guid: [u8; 16] = Md5::digest(message).into();
    // The first three groups are numbers.
    guid[0..4].reverse();
    guid[4..6].reverse();
    guid[6..8].reverse();
    guid[7] = guid[7] & 0x0f | 0x30;
    guid[8] = guid[8] & 0x3f | 0x80;
    guid
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As CoreCLR answers: f5b5cc25-92c5-3259-8ca9-ca0e625901f7.
    #[test]
    fn an_interface_is_named_by_its_name() {
        let guid = [
            0x25, 0xcc, 0xb5, 0xf5, 0xc5, 0x92, 0x59, 0x32, 0x8c, 0xa9, 0xca, 0x0e, 0x62, 0x59, 0x01, 0xf7,
        ];
        assert_eq!(from_name(utf16("N.S.IE")), guid);
    }
}
