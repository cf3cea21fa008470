//! Rules about types as a whole: base types, interfaces, overrides, layout, by-ref-like fields.

use std::rc::Rc;

use corten_metadata::{FieldAttributes, MethodAttributes, TypeAttributes};

use crate::code::Code;
use crate::types::{Category, DefInfo, RowId, Ty, TyKind, TypeResult, TypeSystem};
use crate::universe::{DefId, WellKnown};

/// Deepest nesting of value types in fields.
const MAX_LAYOUT_DEPTH: usize = 200;

/// A finding about a type.
pub(crate) struct TypeFinding {
    pub code: Code,
    pub message: String,
}

struct TypeVerifier<'a, 'u> {
    types: &'a mut TypeSystem<'u>,
    def: DefId,
    findings: Vec<TypeFinding>,
}

/// Verifies the type of a TypeDef row, its methods excluded.
pub(crate) fn verify(types: &mut TypeSystem<'_>, def: DefId) -> Vec<TypeFinding> {
    let mut verifier = TypeVerifier {
        types,
        def,
        findings: Vec::new(),
    };
    if let Err(failure) = verifier.run() {
        verifier.report(failure.code, failure.message);
    }
    verifier.findings
}

impl<'u> TypeVerifier<'_, 'u> {
    fn report(&mut self, code: Code, message: String) {
        self.findings.push(TypeFinding { code, message });
    }

    fn run(&mut self) -> TypeResult<()> {
        let info = self.types.def(self.def)?;
        let own = self.types.own_type(self.def)?;
        if !self.base_is_valid(&info)? {
            return Ok(());
        }
        if info.category != Category::Interface {
            self.check_interfaces(&info, own)?;
        }
        self.check_overrides(&info, own)?;
        self.check_fields(&info, own)
    }

    fn base_is_valid(&mut self, info: &DefInfo<'u>) -> TypeResult<bool> {
        let is_interface = info.flags.contains(TypeAttributes::INTERFACE);
        let Some(base) = info.base else {
            let is_root = self.types.universe.well_known(self.def) == Some(WellKnown::Object);
            // Row 1 holds the module's global fields and methods.
            let valid = is_interface || is_root || self.def.rid == 1;
            if !valid {
                self.report(Code::InvalidBaseType, "the type has no base type".to_owned());
            }
            return Ok(valid);
        };
        let category = self.types.category(base)?;
        let is_class =
            category == Category::Class && matches!(self.types.kind(base), TyKind::Def(_) | TyKind::Inst(..));
        if !is_class {
            let name = self.types.type_name(base);
            self.report(Code::InvalidBaseType, format!("{name} cannot be a base type"));
            return Ok(false);
        }
        if let Some(def) = self.types.def_of(base)
            && self.types.def(def)?.flags.contains(TypeAttributes::SEALED)
        {
            let name = self.types.type_name(base);
            self.report(Code::ClassLoadGeneral, format!("the base type {name} is sealed"));
        }
        // A chain that closes on itself is found here.
        self.types.interfaces(base)?;
        let own = self.types.own_type(self.def)?;
        if let Some(base) = self.types.base(own)? {
            self.check_arguments(base)?;
        }
        Ok(true)
    }

    /// That the type arguments of a base type or interface satisfy its constraints.
    fn check_arguments(&mut self, ty: Ty) -> TypeResult<()> {
        if !self.types.type_constraints_hold(ty)? {
            let name = self.types.type_name(ty);
            self.report(
                Code::ClassLoadGeneral,
                format!("the type arguments of {name} break its constraints"),
            );
        }
        Ok(())
    }

    fn check_interfaces(&mut self, info: &DefInfo<'u>, own: Ty) -> TypeResult<()> {
        let mut distinct: Vec<Ty> = Vec::new();
        for interface in self.types.listed_interfaces(own)? {
            if distinct.contains(&interface) {
                let name = self.types.type_name(interface);
                self.report(
                    Code::InterfaceImplHasDuplicate,
                    format!("the interface {name} is listed twice"),
                );
            } else {
                self.check_arguments(interface)?;
                distinct.push(interface);
            }
        }
        if info.flags.contains(TypeAttributes::ABSTRACT) {
            return Ok(());
        }
        for interface in distinct {
            let Some(def) = self.types.def_of(interface) else {
                continue;
            };
            for method in self.types.methods_of(def)? {
                if method.is_abstract() && !self.types.implements(own, interface, &method)? {
                    let interface = self.types.type_name(interface);
                    let message = format!("{interface}::{} is not implemented", method.name);
                    self.report(Code::InterfaceMethodNotImplemented, message);
                }
            }
        }
        Ok(())
    }

    /// Explicit and implicit overrides must not override what is final.
    fn check_overrides(&mut self, info: &Rc<DefInfo<'u>>, own: Ty) -> TypeResult<()> {
        for record in self.types.overrides(own)? {
            let name = format!(
                "{}::{}",
                self.types.type_name(record.declaring),
                record.declaration.name
            );
            if !record.declaration.is_virtual() {
                self.report(Code::ClassLoadGeneral, format!("{name} is overridden but not virtual"));
            } else if record.declaration.is_final() && record.declaration.owner != self.def {
                self.report(Code::ClassLoadGeneral, format!("{name} is overridden but final"));
            } else if !record.body.is_virtual() && !record.body.is_static() {
                let body = record.body.name;
                self.report(
                    Code::ClassLoadGeneral,
                    format!("{name} is overridden by {body}, which is not virtual"),
                );
            }
        }
        if info.category == Category::Interface {
            return Ok(());
        }
        for method in self.types.methods_of(self.def)? {
            let reuses =
                method.is_virtual() && !method.flags.contains(MethodAttributes::NEW_SLOT) && !method.is_static();
            if reuses && self.overrides_final(own, &method.sig, method.name)? {
                self.report(
                    Code::ClassLoadGeneral,
                    format!("{} overrides a final method", method.name),
                );
            }
        }
        Ok(())
    }

    /// Whether the closest method up the chain that takes the slot is final.
    fn overrides_final(&mut self, own: Ty, sig: &crate::types::Sig, name: &str) -> TypeResult<bool> {
        let args = self.types.args_of(own);
        let wanted = self.types.substitute_sig(sig, &args, &[])?;
        let mut current = self.types.base(own)?;
        for _ in 0..crate::types::MAX_CHAIN {
            let Some(ty) = current else { break };
            if let Some(found) = self.types.find_virtual(ty, name, &wanted)? {
                let access = found.flags & MethodAttributes::MEMBER_ACCESS_MASK;
                return Ok(found.is_final() && access != MethodAttributes::PRIVATE);
            }
            current = self.types.base(ty)?;
        }
        Ok(false)
    }

    fn check_fields(&mut self, info: &DefInfo<'u>, own: Ty) -> TypeResult<()> {
        let args = self.types.args_of(own);
        for rid in info.fields.clone() {
            let field = self.types.field(RowId {
                module: self.def.module,
                rid,
            })?;
            let ty = self.types.substitute(field.ty, &args, &[])?;
            let is_static = field.flags.contains(FieldAttributes::STATIC);
            let by_ref = matches!(self.types.kind(ty), TyKind::ByRef(_));
            if (by_ref || self.types.is_by_ref_like(ty)?)
                && (is_static || !info.is_by_ref_like)
                && !by_ref_allowed(info)
            {
                let message = format!(
                    "the field {} of type {} outlives what it refers to",
                    field.name,
                    self.types.type_name(ty)
                );
                self.report(Code::ClassLoadGeneral, message);
            }
        }
        if info.category.is_value_type() && self.contains_itself(own)? {
            self.report(
                Code::ClassLoadGeneral,
                "a value of the type would contain itself".to_owned(),
            );
        }
        if info.flags & TypeAttributes::LAYOUT_MASK == TypeAttributes::EXPLICIT_LAYOUT {
            self.check_explicit_layout(info, &args)?;
        }
        Ok(())
    }

    /// Whether a value type contains a value of its own type, directly or in another one.
    fn contains_itself(&mut self, own: Ty) -> TypeResult<bool> {
        let mut seen = Vec::new();
        let mut todo = vec![own];
        while let Some(ty) = todo.pop() {
            let Some(def) = self.types.def_of(ty) else { continue };
            let info = self.types.def(def)?;
            let args = self.types.args_of(ty);
            for rid in info.fields.clone() {
                let field = self.types.field(RowId {
                    module: def.module,
                    rid,
                })?;
                if field.flags.contains(FieldAttributes::STATIC) {
                    continue;
                }
                let inner = self.types.substitute(field.ty, &args, &[])?;
                let category = self.types.category(inner)?;
                if category.is_primitive() || !category.is_value_type() {
                    continue;
                }
                if self.types.def_of(inner) == Some(self.def) {
                    return Ok(true);
                }
                if !seen.contains(&inner) && seen.len() < MAX_LAYOUT_DEPTH {
                    seen.push(inner);
                    todo.push(inner);
                }
            }
        }
        Ok(false)
    }

    /// Reference fields must not share bytes with other fields.
    fn check_explicit_layout(&mut self, info: &DefInfo<'u>, args: &[Ty]) -> TypeResult<()> {
        let image = self.types.universe.module(self.def.module);
        let mut references = Vec::new();
        let mut others = Vec::new();
        for rid in info.fields.clone() {
            let field = self.types.field(RowId {
                module: self.def.module,
                rid,
            })?;
            if field.flags.contains(FieldAttributes::STATIC) {
                continue;
            }
            let Some(offset) = image.field_offset(rid) else {
                continue;
            };
            let ty = self.types.substitute(field.ty, args, &[])?;
            let category = self.types.category(ty)?;
            if category.is_reference() {
                references.push((offset, field.name));
            } else if let Some(size) = primitive_size(category) {
                others.push((offset, size, field.name));
            }
        }
        for (at, name) in references {
            if let Some((_, _, other)) = others
                .iter()
                .find(|(o, size, _)| at < o + size && *o < at.saturating_add(8))
            {
                let message = format!("the reference {name} shares bytes with the field {other}");
                self.report(Code::ClassLoadGeneral, message);
            }
        }
        Ok(())
    }
}

/// The core library's own by-ref-like primitives hold pointers that the marker attribute does not cover.
fn by_ref_allowed(info: &DefInfo<'_>) -> bool {
    info.namespace == "System" && matches!(info.name, "TypedReference" | "ByReference" | "ByReference`1")
}

fn primitive_size(category: Category) -> Option<u32> {
    Some(match category {
        Category::Boolean | Category::SByte | Category::Byte => 1,
        Category::Char | Category::Int16 | Category::UInt16 => 2,
        Category::Int32 | Category::UInt32 | Category::Single => 4,
        Category::Int64 | Category::UInt64 | Category::Double | Category::IntPtr | Category::UIntPtr => 8,
        _ => return None,
    })
}
