//! FieldDescs and MethodDescs of a type, made from its metadata rows.

use std::sync::{
    OnceLock,
    atomic::{AtomicPtr, AtomicU32, AtomicUsize},
};

use corten_metadata::{FieldAttributes, MethodAttributes, MethodImplAttributes, sig};

use crate::{
    class::ArrayInfo,
    element_type::ElementType,
    error::{LoadError, Result},
    field_desc::{FieldDesc, FieldKind, NO_OFFSET},
    method_desc::{MethodDesc, MethodKind, NO_SLOT},
    method_table::MethodTable,
    methods::MethodCells,
    precode::{BackpatchSlots, EntryCell},
    resolve::{GenericContext, primitive_of},
    type_def::TypeDefInfo,
    type_desc::TypeDescKind,
    type_handle::TypeHandle,
};

/// Makes the FieldDescs of a type (without offsets).
pub(crate) fn make_fields(mt: &'static MethodTable) -> Result<Box<[FieldDesc]>> {
    let class = mt.class();
    let Some(def) = class.def else {
        return Ok(Box::default());
    };
    let md = class.module.metadata();
    let mut fields = Vec::with_capacity(def.field_rids().len());
    for (index, rid) in def.field_rids().iter().copied().enumerate() {
        let row = md.field(rid).map_err(|e| class.module.bad_image(e))?;
        let kind = if !row.flags.contains(FieldAttributes::STATIC) {
            FieldKind::Instance
        } else if row.flags.contains(FieldAttributes::LITERAL) {
            FieldKind::Literal
        } else if row.flags.contains(FieldAttributes::HAS_FIELD_RVA) {
            FieldKind::Rva(0)
        } else if crate::statics::is_thread_static(class.module, rid) {
            FieldKind::ThreadStatic
        } else {
            FieldKind::Static
        };
        fields.push(FieldDesc {
            owner: mt,
            name: row.name,
            signature: row.signature,
            rid,
            index: index as u16,
            attributes: row.flags,
            element: ElementType::End,
            kind,
            offset: std::sync::atomic::AtomicU32::new(NO_OFFSET),
            ty: OnceLock::new(),
        });
    }
    for f in &mut fields {
        let sig = sig::parse_field(f.signature).map_err(|e| class.module.bad_image(e))?;
        if sig == sig::TypeSig::Void {
            return Err(LoadError::VoidInSignature);
        }
        f.element = element_of(&sig, mt);
        if f.kind == FieldKind::Rva(0) {
            f.kind = FieldKind::Rva(crate::rva::field_data(class.module, f.rid, &sig)?);
        }
    }
    Ok(fields.into())
}

/// Element kind of a signature as far as visible without loading.
fn element_of(sig: &sig::TypeSig, mt: &'static MethodTable) -> ElementType {
    use sig::TypeSig;
    if let Some(e) = primitive_of(sig) {
        return match e {
            ElementType::String | ElementType::Object => ElementType::Class,
            ElementType::TypedByRef => ElementType::ValueType,
            e => e,
        };
    }
    match sig {
        TypeSig::Class(_) | TypeSig::SzArray(_) | TypeSig::Array { .. } => ElementType::Class,
        TypeSig::ValueType(_) => ElementType::ValueType,
        TypeSig::GenericInst { is_value_type, .. } => {
            if *is_value_type {
                ElementType::ValueType
            } else {
                ElementType::Class
            }
        }
        TypeSig::Ptr(_) => ElementType::Ptr,
        TypeSig::ByRef(_) => ElementType::ByRef,
        TypeSig::FnPtr(_) => ElementType::FnPtr,
        TypeSig::Var(n) => match mt.instantiation().get(*n as usize) {
            Some(t) if t.is_value_type() => match t.cor_element_type() {
                e if e.is_primitive() => e,
                _ => ElementType::ValueType,
            },
            Some(t)
                if t.as_type_desc()
                    .is_some_and(|d| !matches!(d.kind(), TypeDescKind::Variable(_))) =>
            {
                t.cor_element_type()
            }
            _ => ElementType::Class,
        },
        TypeSig::Pinned(t) => element_of(t, mt),
        TypeSig::Modified { inner, .. } => element_of(inner, mt),
        _ => ElementType::Class,
    }
}

/// Exact type of a field, fully loaded.
pub(crate) fn load_field_type(f: &FieldDesc) -> Result<TypeHandle> {
    let module = f.owner.module();
    let sig = sig::parse_field(f.signature).map_err(|e| module.bad_image(e))?;
    module.resolve_type_sig(
        &sig,
        GenericContext {
            class_inst: f.owner.instantiation(),
            method_inst: &[],
        },
    )
}

/// Makes room for the MethodDescs of a type.
pub(crate) fn ensure_methods(mt: &'static MethodTable) -> Result<()> {
    let class = mt.class();
    if class.methods.get().is_some() {
        return Ok(());
    }
    let _guard = crate::sync::enter_loader();
    if class.methods.get().is_some() {
        return Ok(());
    }
    let methods = match (class.def, class.array) {
        (Some(def), _) => {
            def.vtable_shape()?;
            MethodCells::empty(def.methods().len())
        }
        (None, Some(a)) => MethodCells::of(array_methods(mt, a))?,
        (None, None) => MethodCells::empty(0),
    };
    let _ = class.methods.set(methods);
    Ok(())
}

/// Makes the MethodDesc of method `index`, without precode.
pub(crate) fn make_method(mt: &'static MethodTable, def: &'static TypeDefInfo, index: usize) -> Result<MethodDesc> {
    let module = def.module();
    let Some(row) = def.methods().get(index) else {
        return Err(module.bad_image(format!("no method {index}")));
    };
    let shape = def.vtable_shape()?;
    let rid = def.method_rid(index);
    let name = row.read_name().map_err(|e| module.bad_image(e))?;
    let signature = row.signature();
    // Signature: convention byte, then for generic methods the arity, then the parameter count.
    let generic = signature.first().is_some_and(|b| b & 0x10 != 0);
    let mut reader = sig::SigReader::new(signature);
    let counts = reader.byte().and_then(|_| {
        let arity = if generic { reader.unsigned()? } else { 0 };
        Ok((arity, reader.unsigned()?))
    });
    let (_, params) = counts.map_err(|e| module.bad_image(e))?;
    let variables = if generic {
        crate::generics::own_variables(
            module,
            corten_metadata::Token::new(corten_metadata::TableId::MethodDef, rid),
        )?
    } else {
        Box::default()
    };
    let kind = method_kind(def, name, row.attributes, row.impl_flags);
    Ok(MethodDesc {
        is_generic_definition: !variables.is_empty(),
        ..blank_method(
            mt,
            module,
            kind,
            rid,
            index as u16,
            shape.method_slots.get(index).copied().unwrap_or(NO_SLOT),
            name,
            signature,
            row.attributes,
            row.impl_flags,
            params as u16,
            variables,
        )
    })
}

fn method_kind(
    def: &TypeDefInfo,
    name: &str,
    attributes: MethodAttributes,
    impl_flags: MethodImplAttributes,
) -> MethodKind {
    if attributes.contains(MethodAttributes::PINVOKE_IMPL) {
        return MethodKind::PInvoke;
    }
    if impl_flags.contains(MethodImplAttributes::INTERNAL_CALL) {
        return MethodKind::InternalCall;
    }
    if impl_flags & MethodImplAttributes::CODE_TYPE_MASK == MethodImplAttributes::RUNTIME && def.is_delegate() {
        return match name {
            ".ctor" => MethodKind::DelegateCtor,
            "BeginInvoke" => MethodKind::DelegateBeginInvoke,
            "EndInvoke" => MethodKind::DelegateEndInvoke,
            _ => MethodKind::DelegateInvoke,
        };
    }
    MethodKind::Il
}

#[allow(clippy::too_many_arguments)]
pub(crate) fn blank_method(
    owner: &'static MethodTable,
    module: &'static crate::module::Module,
    kind: MethodKind,
    rid: u32,
    index: u16,
    slot: u16,
    name: &'static str,
    signature: &'static [u8],
    attributes: MethodAttributes,
    impl_flags: MethodImplAttributes,
    params: u16,
    instantiation: Box<[TypeHandle]>,
) -> MethodDesc {
    MethodDesc {
        entry: EntryCell::new(0),
        owner,
        module,
        precode: AtomicUsize::new(0),
        rid,
        slot,
        index,
        attributes,
        impl_flags,
        kind,
        is_generic_definition: false,
        param_count: params,
        name,
        signature_blob: signature,
        instantiation,
        adapter: AtomicUsize::new(0),
        slots: BackpatchSlots::default(),
        sig: OnceLock::new(),
        code_versions: AtomicPtr::default(),
        exposed_object: AtomicUsize::new(0),
        runtime_data: AtomicUsize::new(0),
        runtime_flags: AtomicU32::new(0),
    }
}

fn array_methods(mt: &'static MethodTable, a: ArrayInfo) -> Vec<MethodDesc> {
    let rank = a.rank as u16;
    let accessor = MethodAttributes::PUBLIC;
    let ctor = MethodAttributes::PUBLIC | MethodAttributes::RT_SPECIAL_NAME;
    let mut list = vec![
        (MethodKind::ArrayGet, "Get", rank, accessor),
        (MethodKind::ArraySet, "Set", rank + 1, accessor),
        (MethodKind::ArrayAddress, "Address", rank, accessor),
        (MethodKind::ArrayCtor, ".ctor", rank, ctor),
    ];
    if a.sz {
        // Jagged arrays: one constructor per number of levels it creates.
        let mut inner = a.element.as_method_table();
        let mut levels = 1;
        while let Some(ArrayInfo { element, sz: true, .. }) = inner.and_then(|m| m.class().array()) {
            levels += 1;
            list.push((MethodKind::ArrayCtorBounds, ".ctor", levels, ctor));
            inner = element.as_method_table();
        }
    } else {
        list.push((MethodKind::ArrayCtorBounds, ".ctor", 2 * rank, ctor));
    }
    list.into_iter()
        .enumerate()
        .map(|(i, (kind, name, params, attributes))| {
            blank_method(
                mt,
                mt.module(),
                kind,
                0,
                i as u16,
                NO_SLOT,
                name,
                &[],
                attributes,
                MethodImplAttributes::empty(),
                params,
                Box::default(),
            )
        })
        .collect()
}
