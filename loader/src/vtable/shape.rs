//! The vtable shape of a type definition: slot numbers of its virtual methods, decided from metadata alone
//! and therefore shared by all instantiations (ECMA-335 II.12.2, II.22.27).

use corten_metadata::{MethodAttributes, TableId, Token, sig};

use crate::{
    error::{LoadError, Result},
    friends,
    method_desc::NO_SLOT,
    resolve::walk_bases,
    sig_compare::{self, Subst},
    type_def::TypeDefInfo,
};

/// The method a slot shows, as definition and method index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotMethod {
    /// Declaring definition.
    pub def: &'static TypeDefInfo,
    /// Index among its methods.
    pub index: u16,
}

/// A MethodImpl row kept for resolution on exact types (the declaration is an interface method, or the
/// implementing type is an interface or the declaration static).
#[derive(Clone, Copy, Debug)]
pub struct DeferredImpl {
    /// MethodDef or MemberRef of the body.
    pub body: Token,
    /// MethodDef or MemberRef of the declaration.
    pub declaration: Token,
}

/// Slots of a definition.
#[derive(Debug, Clone, Default)]
pub struct VtableShape {
    /// Method per slot, inherited ones included.
    pub slots: Vec<SlotMethod>,
    /// Slot per own method ([`NO_SLOT`] when not in the vtable). For interfaces: index among the
    /// instance virtual methods.
    pub method_slots: Vec<u16>,
    /// Slots that this definition fills: (slot, own method index), to be applied in order.
    pub own: Vec<(u16, u16)>,
    /// MethodImpls against classes: the method that the slot showed before, and the index of the body.
    pub class_impls: Vec<(SlotMethod, u16)>,
    /// MethodImpls against interfaces.
    pub deferred: Vec<DeferredImpl>,
}

impl TypeDefInfo {
    /// The vtable shape, computed once.
    ///
    /// # Errors
    /// TypeLoad for illegal overrides; errors of resolving base classes.
    pub fn vtable_shape(&'static self) -> Result<&'static VtableShape> {
        if let Some(s) = self.shape.get() {
            return s.as_ref().map_err(Clone::clone);
        }
        let computed = match compute(self) {
            Err(e) if e.is_transient() => return Err(e),
            settled => settled,
        };
        self.shape.get_or_init(|| computed).as_ref().map_err(Clone::clone)
    }
}

fn compute(def: &'static TypeDefInfo) -> Result<VtableShape> {
    let mut s = VtableShape::default();
    let parent_slots: &[SlotMethod] = match def.parent() {
        Some(p) => &p.def.vtable_shape()?.slots,
        None => &[],
    };
    if def.parent().is_some_and(|p| p.def.is_interface()) {
        return Err(def.type_load("because the parent type is an interface"));
    }
    s.slots = parent_slots.to_vec();
    s.method_slots = vec![NO_SLOT; def.methods().len()];

    if def.is_interface() {
        s.slots.clear();
        let mut next = 0;
        for (i, m) in def.methods().iter().enumerate() {
            if m.is_instance_virtual() {
                s.method_slots[i] = next;
                next += 1;
            }
        }
    } else {
        for (i, m) in def.methods().iter().enumerate() {
            if !m.is_instance_virtual() {
                continue;
            }
            let inherited = if m.attributes.contains(MethodAttributes::NEW_SLOT) {
                None
            } else {
                find_overridden(def, i)?
            };
            let slot = match inherited {
                Some(slot) => {
                    s.slots[usize::from(slot)] = SlotMethod { def, index: i as u16 };
                    slot
                }
                None => {
                    let slot = s.slots.len();
                    if slot >= usize::from(NO_SLOT) {
                        return Err(def.type_load("too many virtual methods"));
                    }
                    s.slots.push(SlotMethod { def, index: i as u16 });
                    slot as u16
                }
            };
            s.method_slots[i] = slot;
            s.own.push((slot, i as u16));
        }
    }
    apply_method_impls(def, &mut s)?;
    propagate_redirected(parent_slots, def, &mut s);
    Ok(s)
}

/// The slot of the inherited virtual method that own method `index` overrides by name and signature.
fn find_overridden(def: &'static TypeDefInfo, index: usize) -> Result<Option<u16>> {
    let m = def.methods()[index];
    let (name, signature) = (m.name(), m.signature());
    walk_bases(def, &mut |base, subst, depth| {
        if depth == 0 {
            return Ok(None);
        }
        for (j, b) in base.methods().iter().enumerate() {
            if !b.is_instance_virtual() || !b.is_named(name) {
                continue;
            }
            let access = b.attributes & MethodAttributes::MEMBER_ACCESS_MASK;
            if access == MethodAttributes::COMPILER_CONTROLLED {
                continue;
            }
            if sig_compare::method_blobs_equal(def.module(), signature, None, base.module(), b.signature(), subst)? {
                // A method that asks for it is overridden only where it can be seen.
                let internal = access == MethodAttributes::ASSEM || access == MethodAttributes::FAM_AND_ASSEM;
                if b.attributes.contains(MethodAttributes::STRICT)
                    && (internal && !friends::sees_internals(base.module(), def.module())
                        || access == MethodAttributes::PRIVATE && base.module() != def.module())
                {
                    continue;
                }
                if b.attributes.contains(MethodAttributes::FINAL) {
                    return Err(final_override(def));
                }
                let slot = base.vtable_shape()?.method_slots.get(j).copied();
                return Ok(slot.filter(|s| *s != NO_SLOT));
            }
        }
        Ok(None)
    })
}

fn final_override(def: &TypeDefInfo) -> LoadError {
    def.type_load(format!(
        "=Declaration referenced in a method implementation cannot be a final method.  Type: '{}'.  Assembly: '{}'.",
        def.plain_name(),
        def.module().assembly_display_name()
    ))
}

/// Declaration of a MethodImpl on a class: base definition and method index.
fn apply_method_impls(def: &'static TypeDefInfo, s: &mut VtableShape) -> Result<()> {
    let module = def.module();
    let md = module.metadata();
    for rid in md.method_impls(def.rid()) {
        let row = md.method_impl(rid).map_err(|e| module.bad_image(e))?;
        let deferred = DeferredImpl {
            body: row.body,
            declaration: row.declaration,
        };
        let decl_def = match row.declaration.table() {
            Some(TableId::MethodDef) => {
                let owner = md
                    .owner_of_method(row.declaration.rid())
                    .ok_or_else(|| module.bad_image("MethodImpl of an ownerless method"))?;
                module.type_def(owner)?
            }
            Some(TableId::MemberRef) => {
                let class = md
                    .member_ref(row.declaration.rid())
                    .map_err(|e| module.bad_image(e))?
                    .class;
                module.resolve_type_def(class)?
            }
            _ => return Err(module.bad_image("MethodImpl declaration is not a method")),
        };
        if decl_def.is_interface() || def.is_interface() {
            s.deferred.push(deferred);
            continue;
        }
        let body = body_index(def, row.body)?;
        let Some(slot) = declared_slot(def, row.declaration, decl_def)? else {
            return Err(missing_declaration(def, row.declaration, decl_def));
        };
        if let Some(declared) = s.slots.get(usize::from(slot)) {
            s.class_impls.push((*declared, body));
        }
        if usize::from(slot) >= s.slots.len() {
            return Err(def.type_load("a method override names a method that is not virtual"));
        }
        s.slots[usize::from(slot)] = SlotMethod { def, index: body };
        s.own.push((slot, body));
    }
    Ok(())
}

fn missing_declaration(def: &TypeDefInfo, token: Token, decl_def: &TypeDefInfo) -> LoadError {
    let module = def.module();
    let parsed = || {
        let row = module.metadata().member_ref(token.rid()).ok()?;
        Some((row.name, sig::parse_method(row.signature).ok()?))
    };
    match parsed().filter(|_| token.is(TableId::MemberRef)) {
        Some((name, sig)) => LoadError::MissingMethod {
            class: decl_def.full_name(),
            method: name.to_owned(),
            signature: crate::sig_text::method_text(module, &decl_def.full_name(), name, &sig),
        },
        None => def.type_load("the declaration of a method override was not found on the base class"),
    }
}

/// Index of the body method, which must be declared by `def`.
fn body_index(def: &'static TypeDefInfo, token: Token) -> Result<u16> {
    let module = def.module();
    match token.table() {
        Some(TableId::MethodDef) => def
            .method_index(token.rid())
            .map(|i| i as u16)
            .ok_or_else(|| def.type_load("a method override's body belongs to another type")),
        Some(TableId::MemberRef) => {
            let row = module
                .metadata()
                .member_ref(token.rid())
                .map_err(|e| module.bad_image(e))?;
            let want = sig::parse_method(row.signature).map_err(|e| module.bad_image(e))?;
            for (i, m) in def.methods().iter().enumerate() {
                if m.is_named(row.name) && sig_compare::method_ref_matches(module, &want, module, m.signature(), None)?
                {
                    return Ok(i as u16);
                }
            }
            Err(def.type_load("a method override's body was not found"))
        }
        _ => Err(module.bad_image("MethodImpl body is not a method")),
    }
}

fn declared_slot(def: &'static TypeDefInfo, token: Token, decl_def: &'static TypeDefInfo) -> Result<Option<u16>> {
    let module = def.module();
    if token.is(TableId::MethodDef) {
        let Some(i) = decl_def.method_index(token.rid()) else {
            return Ok(None);
        };
        if decl_def.methods()[i].attributes.contains(MethodAttributes::FINAL) && decl_def != def {
            return Err(final_override(def));
        }
        // For own methods the slot is in the shape under construction: only base methods are looked up here.
        return slot_of(def, decl_def, i);
    }
    let row = module
        .metadata()
        .member_ref(token.rid())
        .map_err(|e| module.bad_image(e))?;
    let want = sig::parse_method(row.signature).map_err(|e| module.bad_image(e))?;
    for (i, m) in decl_def.methods().iter().enumerate() {
        // The reference's signature is in terms of the declaring type's own variables.
        if m.is_named(row.name)
            && sig_compare::method_ref_matches(module, &want, decl_def.module(), m.signature(), None::<&Subst<'_>>)?
        {
            if m.attributes.contains(MethodAttributes::FINAL) && decl_def != def {
                return Err(final_override(def));
            }
            return slot_of(def, decl_def, i);
        }
    }
    // The reference may name a type that inherits the method.
    match decl_def.parent() {
        Some(p) => declared_slot(def, token, p.def),
        None => Ok(None),
    }
}

fn slot_of(def: &'static TypeDefInfo, decl_def: &'static TypeDefInfo, index: usize) -> Result<Option<u16>> {
    if decl_def == def {
        // An override of an own method changes nothing that callers can see; rare, rejected.
        return Ok(None);
    }
    let slot = decl_def.vtable_shape()?.method_slots.get(index).copied();
    Ok(slot.filter(|s| *s != NO_SLOT))
}

/// Slots that a base class redirected to one method keep showing one method when that method is overridden by name,
/// and, for covariant returns (`PreserveBaseOverridesAttribute`), however it is overridden.
fn propagate_redirected(parent: &[SlotMethod], def: &'static TypeDefInfo, s: &mut VtableShape) {
    let mut extra = Vec::new();
    for (slot, body) in &s.own {
        let Some(before) = parent.get(usize::from(*slot)) else {
            continue;
        };
        let sharing: Vec<u16> = parent
            .iter()
            .enumerate()
            .filter(|(i, m)| *i != usize::from(*slot) && *m == before)
            .map(|(i, _)| i as u16)
            .collect();
        if sharing.is_empty() {
            continue;
        }
        let token = Token::new(TableId::MethodDef, before.def.method_rid(usize::from(before.index)));
        let own_slot = before
            .def
            .vtable_shape()
            .is_ok_and(|b| b.method_slots.get(usize::from(before.index)) == Some(slot));
        let preserves = || {
            before.def.module().metadata().has_attribute(
                token,
                "System.Runtime.CompilerServices",
                "PreserveBaseOverridesAttribute",
            )
        };
        if own_slot || preserves() {
            extra.extend(sharing.into_iter().map(|t| (t, *body)));
        }
    }
    for (slot, body) in extra {
        s.slots[usize::from(slot)] = SlotMethod { def, index: body };
        s.own.push((slot, body));
    }
}
