//! Methods whose IL the engine writes: accessors of arrays as callable methods, and `[UnsafeAccessor]` methods.
//!
//! Such a body names its target by [`TARGET`]; the host resolves that token to the [`Target`] of the method.

use super::EngineHost;
use crate::error::{ExceptionKind, Raise};
use corten_jit::host_api::{HostError, HostResult};
use corten_loader::{FieldDesc, MethodDesc, MethodKind, MethodTable, TypeHandle};
use corten_metadata::{MethodBody, Token};

/// Token of the target in a synthetic body.
pub(super) const TARGET: Token = Token(0x0A00_0000);

/// What a synthetic body calls or accesses.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// A method.
    Method(&'static MethodDesc),
    /// A field.
    Field(&'static FieldDesc),
}

/// `UnsafeAccessorKind`.
const CONSTRUCTOR: i32 = 0;
const METHOD: i32 = 1;
const STATIC_METHOD: i32 = 2;
const FIELD: i32 = 3;
const STATIC_FIELD: i32 = 4;

const LDARG_S: u8 = 0x0E;
const CALL: u8 = 0x28;
const RET: u8 = 0x2A;
const CALLVIRT: u8 = 0x6F;
const NEWOBJ: u8 = 0x73;
const LDFLDA: u8 = 0x7C;
const LDSFLDA: u8 = 0x7F;

struct Accessor {
    kind: i32,
    name: Option<String>,
}

/// The `[UnsafeAccessor]` of a method without IL.
fn accessor(m: &'static MethodDesc) -> Option<Accessor> {
    if m.kind() != MethodKind::Il || m.token().is_nil() || !m.is_static() {
        return None;
    }
    let metadata = m.module().metadata();
    let blob = metadata.find_attribute(m.token(), "System.Runtime.CompilerServices", "UnsafeAccessorAttribute")?;
    parse(metadata.custom_attribute(blob).ok()?.value)
}

/// Prolog, int32 kind, then at most the named argument `Name` (ECMA-335 II.23.3).
fn parse(blob: &[u8]) -> Option<Accessor> {
    let kind = i32::from_le_bytes(blob.get(2..6)?.try_into().ok()?);
    let named = u16::from_le_bytes(blob.get(6..8)?.try_into().ok()?);
    let mut name = None;
    if named == 1 {
        // PROPERTY/FIELD, ELEMENT_TYPE_STRING, "Name", value; both strings are shorter than 128 bytes.
        let at = 10;
        let key_length = *blob.get(at)? as usize;
        let value_at = at + 1 + key_length;
        let length = *blob.get(value_at)? as usize;
        let (start, length) = match length {
            0xFF => (value_at + 1, 0),
            l if l < 0x80 => (value_at + 1, l),
            l => (value_at + 2, ((l & 0x3F) << 8) | *blob.get(value_at + 1)? as usize),
        };
        name = Some(String::from_utf8_lossy(blob.get(start..start + length)?).into_owned());
    }
    Some(Accessor { kind, name })
}

fn missing(kind: ExceptionKind, text: String) -> Raise {
    Raise::new(kind, text)
}

impl EngineHost {
    /// Target of a synthetic body; `None` if the method has real IL.
    pub(super) fn synthetic_target(&self, m: &'static MethodDesc) -> HostResult<Option<Target>> {
        match m.kind() {
            MethodKind::ArrayGet | MethodKind::ArraySet | MethodKind::ArrayAddress => Ok(Some(Target::Method(m))),
            _ => match accessor(m) {
                Some(a) => self.accessor_target(m, &a).map(Some),
                None => Ok(None),
            },
        }
    }

    /// Body of such a method.
    pub(super) fn synthetic_body(&self, m: &'static MethodDesc) -> HostResult<Option<MethodBody<'static>>> {
        let mut code = Vec::new();
        let params = self.load(m.signature())?.params.len();
        let arguments = |code: &mut Vec<u8>, range: std::ops::Range<usize>| {
            for i in range {
                code.extend_from_slice(&[LDARG_S, i as u8]);
            }
        };
        let opcode = match m.kind() {
            MethodKind::ArrayGet | MethodKind::ArraySet | MethodKind::ArrayAddress => {
                arguments(&mut code, 0..params + 1);
                CALL
            }
            _ => {
                let Some(a) = accessor(m) else { return Ok(None) };
                match a.kind {
                    CONSTRUCTOR => {
                        arguments(&mut code, 0..params);
                        NEWOBJ
                    }
                    METHOD => {
                        arguments(&mut code, 0..params);
                        let by_ref = self.load(m.signature())?.params.first().is_some_and(|p| p.is_byref());
                        if by_ref { CALL } else { CALLVIRT }
                    }
                    STATIC_METHOD => {
                        arguments(&mut code, 1..params);
                        CALL
                    }
                    FIELD => {
                        arguments(&mut code, 0..1);
                        LDFLDA
                    }
                    STATIC_FIELD => LDSFLDA,
                    k => return Err(HostError::InvalidProgram(format!("UnsafeAccessorKind {k}"))),
                }
            }
        };
        code.push(opcode);
        code.extend_from_slice(&TARGET.0.to_le_bytes());
        code.push(RET);
        Ok(Some(MethodBody {
            max_stack: (params + 1).max(1) as u16,
            init_locals: false,
            local_var_sig: None,
            code: Vec::leak(code),
            clauses: Vec::new(),
        }))
    }

    fn accessor_target(&self, m: &'static MethodDesc, a: &Accessor) -> HostResult<Target> {
        let s = self.load(m.signature())?;
        let name = match (&a.name, a.kind) {
            (_, CONSTRUCTOR) => ".ctor",
            (Some(n), _) => n.as_str(),
            (None, _) => m.name(),
        };
        let on: TypeHandle = if a.kind == CONSTRUCTOR {
            s.ret
        } else {
            let first = *s
                .params
                .first()
                .ok_or_else(|| HostError::InvalidProgram("UnsafeAccessor without target parameter".into()))?;
            if first.is_byref() {
                first.element_type().unwrap_or(first)
            } else {
                first
            }
        };
        let Some(mt) = on.as_method_table() else {
            return Err(HostError::InvalidProgram(format!("UnsafeAccessor on {on}")));
        };
        self.load(corten_loader::ensure_full(mt))?;
        if matches!(a.kind, FIELD | STATIC_FIELD) {
            let want = if s.ret.is_byref() { s.ret.element_type() } else { None };
            let found = mt
                .fields()
                .iter()
                .find(|f| f.name() == name && f.is_static() == (a.kind == STATIC_FIELD) && f.field_type().ok() == want);
            return found.map(Target::Field).ok_or_else(|| {
                self.defer_raise(missing(
                    ExceptionKind::MissingField,
                    format!("Field not found: '{on}.{name}'."),
                ))
            });
        }
        let params = if a.kind == CONSTRUCTOR {
            &s.params[..]
        } else {
            &s.params[1..]
        };
        self.find_target_method(mt, name, a.kind, params, s.ret, m)
            .map(Target::Method)
            .ok_or_else(|| {
                self.defer_raise(missing(
                    ExceptionKind::MissingMethod,
                    format!("Method not found: '{on}.{name}'."),
                ))
            })
    }

    fn find_target_method(
        &self,
        mt: &'static MethodTable,
        name: &str,
        kind: i32,
        params: &[TypeHandle],
        ret: TypeHandle,
        accessor: &'static MethodDesc,
    ) -> Option<&'static MethodDesc> {
        mt.methods().named(name).find_map(|candidate| {
            if candidate.is_static() != (kind == STATIC_METHOD) {
                return None;
            }
            let candidate = if candidate.is_generic_method_definition() {
                candidate.instantiate(accessor.instantiation()).ok()?
            } else {
                candidate
            };
            let s = candidate.signature().ok()?;
            let same = s.params.len() == params.len()
                && s.params.iter().zip(params).all(|(a, b)| a == b)
                && (kind == CONSTRUCTOR || s.ret == ret);
            same.then_some(candidate)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attribute_blobs() {
        let a = parse(&[1, 0, 3, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!((a.kind, a.name), (3, None));
        let mut blob = vec![1, 0, 1, 0, 0, 0, 1, 0, 0x54, 0x0E, 4];
        blob.extend_from_slice(b"Name\x03abc");
        let a = parse(&blob).unwrap();
        assert_eq!((a.kind, a.name.as_deref()), (1, Some("abc")));
        assert!(parse(&[1, 0, 1]).is_none());
    }
}
