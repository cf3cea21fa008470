//! Generic variables, instantiation of methods, and constraints.

use std::sync::atomic::Ordering;

use corten_metadata::{GenericParamAttributes, GenericParamRow, MethodAttributes, TableId, Token, TypeAttributes};

use crate::{
    cast,
    class::LoadLevel,
    error::{LoadError, Result},
    method_desc::MethodDesc,
    method_table::MethodTable,
    module::Module,
    resolve::{GenericContext, read, write},
    type_desc::{GenericVariable, TypeDesc, TypeDescKind},
    type_handle::TypeHandle,
    type_loader::{self, Args, interned},
};

/// The variables that a TypeDef or MethodDef declares, as types.
pub(crate) fn own_variables(module: &'static Module, owner: Token) -> Result<Box<[TypeHandle]>> {
    let md = module.metadata();
    let params = md.generic_params(owner);
    if params.is_empty() {
        return Ok(Box::default());
    }
    let mut map = module
        .variables
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut out = Vec::with_capacity(params.len());
    for rid in params {
        if let Some(d) = map.get(&rid) {
            out.push(d.handle());
            continue;
        }
        let row = md.generic_param(rid).map_err(|e| module.bad_image(e))?;
        let desc: &'static TypeDesc = Box::leak(Box::new(TypeDesc::new(TypeDescKind::Variable(GenericVariable {
            module,
            token: Token::new(TableId::GenericParam, rid),
            owner,
            index: row.number,
            flags: row.flags,
            name: row.name,
        }))));
        map.insert(rid, desc);
        out.push(desc.handle());
    }
    Ok(out.into())
}

/// Declared constraints of a variable, fully loaded.
pub(crate) fn variable_constraints(v: &GenericVariable) -> Result<Vec<TypeHandle>> {
    let (class_inst, method_inst);
    if v.is_method_variable() {
        let owner = v
            .module
            .metadata()
            .owner_of_method(v.owner.rid())
            .ok_or_else(|| v.module.bad_image("method without owner"))?;
        class_inst = own_variables(v.module, Token::new(TableId::TypeDef, owner))?;
        method_inst = own_variables(v.module, v.owner)?;
    } else {
        class_inst = own_variables(v.module, v.owner)?;
        method_inst = Box::default();
    }
    let ctx = GenericContext {
        class_inst: &class_inst,
        method_inst: &method_inst,
    };
    constraint_types(v.module, v.token.rid(), ctx)
}

fn constraint_types(module: &'static Module, gp_rid: u32, ctx: GenericContext<'_>) -> Result<Vec<TypeHandle>> {
    let md = module.metadata();
    let mut out = Vec::new();
    for c in md.generic_param_constraints(gp_rid) {
        let row = md.generic_param_constraint(c).map_err(|e| module.bad_image(e))?;
        out.push(module.load_token(row.constraint, ctx)?);
    }
    Ok(out)
}

/// The exact method for a generic method definition and arguments.
pub(crate) fn instantiate_method(md: &'static MethodDesc, args: &[TypeHandle]) -> Result<&'static MethodDesc> {
    let md = md.generic_definition();
    if args.len() != md.instantiation.len() {
        return Err(LoadError::BadImageFormat {
            name: md.module.metadata().path().to_owned(),
            reason: format!(
                "{} takes {} generic arguments, {} given",
                md.name(),
                md.instantiation.len(),
                args.len()
            ),
        });
    }
    if args.is_empty() || args == &md.instantiation[..] {
        return Ok(md);
    }
    let key = (md.address(), Args::from_slice(args));
    if let Some(m) = read(&interned().methods).get(&key) {
        return Ok(m);
    }
    let _guard = crate::sync::enter_loader();
    if let Some(m) = read(&interned().methods).get(&key) {
        return Ok(m);
    }
    for a in args {
        if a.is_byref() || a.is_void() || a.is_pointer() || a.is_function_pointer() {
            return Err(type_loader::type_load(
                md.owner.handle(),
                format!("'{a}' cannot be a generic argument"),
            ));
        }
        type_loader::ensure_full_handle(*a)?;
    }
    let open = md.owner.contains_generic_variables() || args.iter().any(|a| a.contains_generic_variables());
    if !open {
        let ctx = GenericContext {
            class_inst: md.owner.instantiation(),
            method_inst: args,
        };
        if let Some((n, param)) = first_violation(md.module, md.token(), args, ctx)? {
            return Err(LoadError::MethodConstraint {
                method: format!("{}.{}", md.owner.handle().display_name(), md.name),
                argument: args[n].display_name(),
                parameter: param.to_owned(),
            });
        }
    }
    let fresh: Box<[MethodDesc]> = Box::new([type_loader::blank_method(
        md.owner,
        md.module,
        md.kind,
        md.rid,
        md.index,
        md.slot,
        md.name,
        md.signature_blob,
        md.attributes,
        md.impl_flags,
        md.param_count,
        args.into(),
    )]);
    let fresh: &'static [MethodDesc] = Box::leak(fresh);
    crate::precode::attach_precode(fresh)?;
    let m = &fresh[0];
    debug_assert!(m.precode.load(Ordering::Relaxed) != 0);
    write(&interned().methods).insert(key, m);
    Ok(m)
}

/// Checks the constraints of a closed type instantiation.
pub(crate) fn check_type_constraints(mt: &'static MethodTable) -> Result<()> {
    let Some(def) = mt.class().definition() else {
        return Ok(());
    };
    let ctx = GenericContext::of_type(mt);
    match first_violation(def.module(), def.token(), mt.instantiation(), ctx)? {
        None => Ok(()),
        Some((n, param)) => Err(def.type_load(format!(
            "=GenericArguments[{n}], '{}', on '{}' violates the constraint of type parameter '{param}'.",
            mt.instantiation()[n],
            mt.class().typical()?.handle()
        ))),
    }
}

fn first_violation(
    module: &'static Module,
    owner: Token,
    args: &[TypeHandle],
    ctx: GenericContext<'_>,
) -> Result<Option<(usize, &'static str)>> {
    let md = module.metadata();
    for rid in md.generic_params(owner) {
        let row = md.generic_param(rid).map_err(|e| module.bad_image(e))?;
        let Some(arg) = args.get(usize::from(row.number)) else {
            continue;
        };
        if !satisfies(module, rid, &row, *arg, ctx)? {
            return Ok(Some((usize::from(row.number), row.name)));
        }
    }
    Ok(None)
}

/// Whether `args` satisfy the constraints of a generic type definition or method (used by
/// `MakeGenericType`-like requests before instantiating).
///
/// # Errors
/// Load errors of constraint types.
pub fn satisfies_constraints(
    module: &'static Module,
    owner: Token,
    args: &[TypeHandle],
    ctx: GenericContext<'_>,
) -> Result<bool> {
    Ok(first_violation(module, owner, args, ctx)?.is_none())
}

fn satisfies(
    module: &'static Module,
    rid: u32,
    row: &GenericParamRow<'_>,
    arg: TypeHandle,
    ctx: GenericContext<'_>,
) -> Result<bool> {
    let f = row.flags;
    if arg.is_byref_like() && !f.contains(GenericParamAttributes::ALLOW_BY_REF_LIKE) {
        return Ok(false);
    }
    if f.contains(GenericParamAttributes::REFERENCE_TYPE_CONSTRAINT) && (arg.is_value_type() || arg.is_pointer()) {
        return Ok(false);
    }
    if f.contains(GenericParamAttributes::NOT_NULLABLE_VALUE_TYPE_CONSTRAINT)
        && (!arg.is_value_type() || arg.is_nullable())
    {
        return Ok(false);
    }
    if f.contains(GenericParamAttributes::DEFAULT_CONSTRUCTOR_CONSTRAINT) && !has_usable_default_constructor(arg) {
        return Ok(false);
    }
    if module.metadata().generic_param_constraints(rid).is_empty() {
        return Ok(true);
    }
    if let Some(mt) = arg.as_method_table() {
        type_loader::ensure(mt, LoadLevel::Parents)?;
    }
    for c in constraint_types(module, rid, ctx)? {
        if let Some(mt) = c.as_method_table() {
            type_loader::ensure(mt, LoadLevel::Parents)?;
        }
        if !cast::can_cast_uncached(arg, c) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn has_usable_default_constructor(arg: TypeHandle) -> bool {
    let Some(mt) = arg.as_method_table() else {
        return arg.as_type_desc().and_then(|d| d.as_variable()).is_some_and(|v| {
            v.flags.intersects(
                GenericParamAttributes::DEFAULT_CONSTRUCTOR_CONSTRAINT
                    | GenericParamAttributes::NOT_NULLABLE_VALUE_TYPE_CONSTRAINT,
            )
        });
    };
    if mt.is_value_type() {
        return true;
    }
    let Some(def) = mt.class().definition() else {
        return false;
    };
    if def.attributes().contains(TypeAttributes::ABSTRACT) {
        return false;
    }
    def.default_ctor_rid()
        .and_then(|r| def.method_index(r))
        .is_some_and(|i| def.methods()[i].attributes & MethodAttributes::MEMBER_ACCESS_MASK == MethodAttributes::PUBLIC)
}
