//! Friend assemblies: who may see an assembly's internals (`InternalsVisibleToAttribute`, `IgnoresAccessChecksToAttribute`).

use corten_metadata::{TableId, Token, sig::SigReader};

use rustc_hash::FxHashMap;
use std::sync::{OnceLock, RwLock};

use crate::{
    binder::public_key_token,
    module::Module,
    resolve::{read, write},
};

const ASSEMBLY: Token = Token(0x2000_0001);
const NAMESPACE: &str = "System.Runtime.CompilerServices";

/// Whether `to` may use the internal members of `from`: they are of one assembly, `from` names `to` as its friend, or `to`
/// waives access checks to `from`.
pub fn sees_internals(from: &'static Module, to: &'static Module) -> bool {
    type Answers = RwLock<FxHashMap<(usize, usize), bool>>;
    static KNOWN: OnceLock<Answers> = OnceLock::new();
    if from == to {
        return true;
    }
    // What reflection emit builds can still change.
    if from.dynamic_scope().is_some() || to.dynamic_scope().is_some() {
        return is_friend(from, to);
    }
    let known = KNOWN.get_or_init(Answers::default);
    let key = (std::ptr::from_ref(from) as usize, std::ptr::from_ref(to) as usize);
    if let Some(answer) = read(known).get(&key) {
        return *answer;
    }
    let answer = is_friend(from, to);
    write(known).insert(key, answer);
    answer
}

fn is_friend(from: &'static Module, to: &'static Module) -> bool {
    names_of(from, "InternalsVisibleToAttribute").any(|friend| is_named(to, &friend))
        || names_of(to, "IgnoresAccessChecksToAttribute").any(|target| is_named(from, &target))
}

/// First arguments of the assembly's attributes of a type.
fn names_of(module: &'static Module, attribute: &'static str) -> impl Iterator<Item = String> {
    let md = module.metadata();
    md.custom_attributes(ASSEMBLY)
        .filter(move |rid| md.attribute_type_name(*rid).is_ok_and(|n| n == (NAMESPACE, attribute)))
        .filter_map(move |rid| first_string(md.custom_attribute(rid).ok()?.value))
}

/// The first fixed argument of an attribute value (ECMA-335 II.23.3), which must be a string.
fn first_string(value: &[u8]) -> Option<String> {
    let rest = value.strip_prefix(&[1, 0])?;
    let mut reader = SigReader::new(rest);
    let length = reader.unsigned().ok()? as usize;
    let start = reader.position();
    let text = rest.get(start..start.checked_add(length)?)?;
    std::str::from_utf8(text).ok().map(str::to_owned)
}

/// Whether the assembly has this simple name and, when the text names one, this public key.
fn is_named(module: &'static Module, text: &str) -> bool {
    let md = module.metadata();
    if md.row_count(TableId::Assembly) == 0 {
        return false;
    }
    let Ok(Some(row)) = md.assembly() else { return false };
    names(text, row.name, row.public_key)
}

/// Whether a display name is that of an assembly with this name and key. The key counts only if the display name gives it, in
/// full or as its token.
fn names(text: &str, name: &str, key: &[u8]) -> bool {
    let mut parts = text.split(',');
    parts.next().unwrap_or_default().trim().eq_ignore_ascii_case(name)
        && parts.filter_map(|part| part.split_once('=')).all(|(what, value)| {
            let (what, value) = (what.trim(), value.trim());
            if what.eq_ignore_ascii_case("PublicKey") {
                is_hex_of(value, key)
            } else if what.eq_ignore_ascii_case("PublicKeyToken") {
                match value.eq_ignore_ascii_case("null") {
                    true => key.is_empty(),
                    false => !key.is_empty() && is_hex_of(value, &public_key_token(key)),
                }
            } else {
                true
            }
        })
}

fn is_hex_of(hex: &str, bytes: &[u8]) -> bool {
    hex.len() == 2 * bytes.len()
        && bytes.iter().enumerate().all(|(i, b)| {
            hex.get(2 * i..2 * i + 2)
                .is_some_and(|digits| u8::from_str_radix(digits, 16) == Ok(*b))
        })
}

#[cfg(test)]
mod tests {
    use super::{first_string, is_hex_of, names};

    #[test]
    fn friends_by_key_and_token() {
        // The key of ECMA-335 II.6.2.1.3 and its token.
        let key = [0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0];
        assert!(names("lib", "Lib", &key));
        assert!(names("lib, PublicKey=00000000000000000400000000000000", "Lib", &key));
        assert!(names("lib, PublicKeyToken=b77a5c561934e089", "Lib", &key));
        assert!(!names("lib, PublicKeyToken=b77a5c561934e088", "Lib", &key));
        assert!(!names("lib, PublicKeyToken=null", "Lib", &key));
        assert!(names("lib, PublicKeyToken=null", "Lib", &[]));
        assert!(!names("other", "Lib", &key));
    }

    #[test]
    fn attribute_values_begin_with_a_counted_string() {
        assert_eq!(first_string(b"\x01\x00\x03abc\x00\x00").as_deref(), Some("abc"));
        assert_eq!(first_string(b"\x01\x00\x09abc"), None);
        assert_eq!(first_string(b""), None);
    }

    #[test]
    fn keys_compare_by_value() {
        assert!(is_hex_of("00aBff", &[0, 0xab, 0xff]));
        assert!(!is_hex_of("00ab", &[0, 0xab, 0xff]));
    }
}
