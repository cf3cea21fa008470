//! GUIDs of types without `[Guid]`: name-based UUIDs (RFC 4122, version 3) of what CoreCLR hashes.

use corten_loader::TypeDefInfo;

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
    let mut guid = md5(message);
    // The first three groups are numbers.
    guid[0..4].reverse();
    guid[4..6].reverse();
    guid[6..8].reverse();
    guid[7] = guid[7] & 0x0f | 0x30;
    guid[8] = guid[8] & 0x3f | 0x80;
    guid
}

/// MD5 (RFC 1321) of a message.
fn md5(mut message: Vec<u8>) -> [u8; 16] {
    const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
    let bits = (message.len() as u64).wrapping_mul(8);
    message.push(0x80);
    // Room for the length at the end of the last block.
    message.resize((message.len() + 8).next_multiple_of(64) - 8, 0);
    message.extend(bits.to_le_bytes());
    let mut state = [0x6745_2301u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    for block in message.chunks_exact(64) {
        let words: Vec<u32> = block
            .chunks_exact(4)
            .map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]]))
            .collect();
        let [mut a, mut b, mut c, mut d] = state;
        for i in 0..64usize {
            let (mix, word) = match i / 16 {
                0 => ((b & c) | (!b & d), i),
                1 => ((d & b) | (!d & c), (5 * i + 1) % 16),
                2 => (b ^ c ^ d, (3 * i + 5) % 16),
                _ => (c ^ (b | !d), (7 * i) % 16),
            };
            let constant = (((i + 1) as f64).sin().abs() * 4_294_967_296.0) as u32;
            let sum = a.wrapping_add(mix).wrapping_add(constant).wrapping_add(words[word]);
            (a, d, c) = (d, c, b);
            b = b.wrapping_add(sum.rotate_left(SHIFTS[i / 16][i % 4]));
        }
        for (total, value) in state.iter_mut().zip([a, b, c, d]) {
            *total = total.wrapping_add(value);
        }
    }
    let mut digest = [0; 16];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: [u8; 16]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// RFC 1321, A.5.
    #[test]
    fn md5_of_known_messages() {
        assert_eq!(hex(md5(Vec::new())), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(hex(md5(b"abc".to_vec())), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(hex(md5(vec![b'a'; 56])), "3b0c8ac703f828b04c6c197006d17218");
        let digits = b"1234567890".repeat(8);
        assert_eq!(hex(md5(digits)), "57edf4a22be3c955ac49da2e2107b67a");
    }

    /// As CoreCLR answers: f5b5cc25-92c5-3259-8ca9-ca0e625901f7.
    #[test]
    fn an_interface_is_named_by_its_name() {
        let guid = from_name(utf16("N.S.IE"));
        assert_eq!(hex(guid), "25ccb5f5c59259328ca9ca0e625901f7");
    }
}
