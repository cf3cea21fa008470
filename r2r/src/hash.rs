//! Hash codes of types and methods that do not depend on versions of assemblies, by which instantiations are found
//! (`vm/versionresilienthashcode.cpp`, `vm/typehashingalgorithms.h`).

/// Rotates and adds, as all combinations of hash codes do.
fn mix(hash: u32, by: u32) -> u32 {
    hash.wrapping_add(hash.rotate_left(by))
}

/// Of a method's name, of the name or the namespace of a type, or of the simple name of an assembly.
pub fn name(name: &str) -> u32 {
    if name.is_empty() {
        return 0;
    }
    let (mut even, mut odd) = (0x6DA3_B944u32, 0u32);
    for (i, byte) in name.bytes().enumerate() {
        // Bytes are signed there.
        let value = i32::from(byte as i8) as u32;
        let half = if i % 2 == 0 { &mut even } else { &mut odd };
        *half = mix(*half, 5) ^ value;
    }
    mix(even, 8) ^ mix(odd, 8)
}

/// Of a type that is not nested and not instantiated, or of the name of a nested one. With the number of type parameters, as in
/// metadata.
pub fn type_name(namespace: &str, type_name: &str) -> u32 {
    name(namespace) ^ name(type_name)
}

/// Of a type in another one; `nested` is that of its name alone.
pub fn nested_type(enclosing: u32, nested: u32) -> u32 {
    mix(enclosing, 11) ^ nested
}

/// Of an instantiated type or method; `definition` is that of the generic type, or of the generic method's name.
pub fn instantiation(definition: u32, arguments: impl IntoIterator<Item = u32>) -> u32 {
    let combined = arguments
        .into_iter()
        .fold(definition, |hash, argument| mix(hash, 13) ^ argument);
    mix(combined, 15)
}

/// Of an array; rank 1 for those with one dimension from 0.
pub fn array(element: u32, rank: u32) -> u32 {
    let hash = 0xD531_3556u32.wrapping_add(rank);
    mix(mix(hash, 13) ^ element, 15)
}

/// Of an unmanaged pointer.
pub fn pointer(target: u32) -> u32 {
    mix(target, 5) ^ 0x12D0
}

/// Of a managed pointer.
pub fn byref(target: u32) -> u32 {
    mix(target, 7) ^ 0x4C85
}

/// Of a method of a type; `method` is that of its name, or [`instantiation`] of it.
pub fn method(owner: u32, method: u32) -> u32 {
    owner ^ method
}

#[cfg(test)]
mod tests {
    #[test]
    fn arrays_hash_like_a_generic_type() {
        assert_eq!(super::name("System.Array`1"), 0xD531_3557);
        assert_eq!(
            super::array(7, 1),
            super::instantiation(super::name("System.Array`1"), [7])
        );
    }
}
