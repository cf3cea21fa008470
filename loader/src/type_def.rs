//! `TypeDefInfo`: what metadata alone says about a type definition, shared by all its instantiations.
//! Nothing here loads a type; references are resolved to other definitions only.

use std::{ops::Range, sync::OnceLock};

use corten_metadata::{
    BlobIdx, MethodAttributes, MethodImplAttributes, StringIdx, TableId, Token, TypeAttributes, sig::TypeSig,
};

use crate::{
    element_type::ElementType,
    error::{LoadError, Result},
    module::Module,
    vtable::shape::VtableShape,
};

/// Broad kind of a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// Reference type.
    Class,
    /// Interface.
    Interface,
    /// Struct (also `System.Void`).
    Struct,
    /// Enum.
    Enum,
    /// CoreLib primitive.
    Primitive,
    /// `Nullable<T>`.
    Nullable,
}

/// A base class reference: definition plus arguments in terms of the derived type's variables.
#[derive(Debug)]
pub struct ParentRef {
    /// The base class definition.
    pub def: &'static TypeDefInfo,
    /// Its arguments, to be read in the derived type's module.
    pub args: Box<[TypeSig]>,
}

/// A MethodDef row, decoded once except for its name and signature.
#[derive(Debug, Clone, Copy)]
pub struct MethodRow {
    metadata: &'static corten_metadata::Module,
    name: StringIdx,
    signature: BlobIdx,
    /// Attributes.
    pub attributes: MethodAttributes,
    /// Implementation flags.
    pub impl_flags: MethodImplAttributes,
}

impl MethodRow {
    /// Name; empty if it is malformed, which [`read_name`](Self::read_name) tells.
    pub fn name(&self) -> &'static str {
        self.read_name().unwrap_or("")
    }

    /// Name.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn read_name(&self) -> corten_metadata::Result<&'static str> {
        self.metadata.string(self.name)
    }

    /// Whether the name is `name`.
    pub fn is_named(&self, name: &str) -> bool {
        self.metadata.string_is(self.name, name)
    }

    /// Signature blob; empty, which is no signature, if it is malformed.
    pub fn signature(&self) -> &'static [u8] {
        self.metadata.blob(self.signature).unwrap_or(&[])
    }

    /// Instance and virtual.
    pub fn is_instance_virtual(&self) -> bool {
        self.attributes.contains(MethodAttributes::VIRTUAL) && !self.attributes.contains(MethodAttributes::STATIC)
    }
}

/// A type definition.
pub struct TypeDefInfo {
    module: &'static Module,
    rid: u32,
    attributes: TypeAttributes,
    name: &'static str,
    namespace: &'static str,
    enclosing: Option<u32>,
    arity: u16,
    variance: Box<[u8]>,
    category: Category,
    element: ElementType,
    parent: Option<ParentRef>,
    is_delegate: bool,
    is_byref_like: bool,
    is_intrinsic: bool,
    inline_array: Option<u32>,
    fields: Box<[u32]>,
    method_rids: Box<[u32]>,
    methods: Box<[MethodRow]>,
    cctor: Option<u32>,
    default_ctor: Option<u32>,
    pub(crate) shape: OnceLock<Result<VtableShape>>,
}

impl std::fmt::Debug for TypeDefInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.full_name())
    }
}

impl PartialEq for TypeDefInfo {
    fn eq(&self, other: &Self) -> bool {
        // Not the address: the definition of a type that reflection emit has not finished is read anew each time.
        self.rid == other.rid && self.module == other.module
    }
}
impl Eq for TypeDefInfo {}

const COMPILER: &str = "System.Runtime.CompilerServices";

impl TypeDefInfo {
    /// Reads definition `rid` of `module`.
    pub(crate) fn read(module: &'static Module, rid: u32) -> Result<TypeDefInfo> {
        let md = module.metadata();
        let bad = |e: corten_metadata::Error| module.bad_image(e);
        let row = md.type_def(rid).map_err(bad)?;
        let token = Token::new(TableId::TypeDef, rid);
        let core = module.is_core_library();
        let top_level = md.enclosing_type(rid).is_none();
        let parent = if row.extends.is_nil() {
            None
        } else {
            Some(read_parent(module, row.extends)?)
        };
        let is_core_type = |d: &TypeDefInfo, ns: &str, name: &str| {
            d.module.is_core_library() && d.enclosing.is_none() && d.namespace == ns && d.name == name
        };
        let parent_is = |name: &str| parent.as_ref().is_some_and(|p| is_core_type(p.def, "System", name));
        let self_is = |name: &str| core && top_level && row.namespace == "System" && row.name == name;

        let mut category = Category::Class;
        let mut element = ElementType::Class;
        if row.flags.contains(TypeAttributes::INTERFACE) {
            category = Category::Interface;
        } else if parent_is("Enum") {
            category = Category::Enum;
            element = enum_underlying(module, row.name, row.field_list.clone())?;
        } else if parent_is("ValueType") && !self_is("Enum") {
            category = Category::Struct;
            element = ElementType::ValueType;
            if core && top_level && row.namespace == "System" {
                if let Some(e) = ElementType::CORELIB
                    .iter()
                    .copied()
                    .find(|e| e.corelib_name() == Some(row.name))
                {
                    element = e;
                    if e.is_primitive() {
                        category = Category::Primitive;
                    } else if e == ElementType::TypedByRef {
                        element = ElementType::ValueType;
                    }
                } else if row.name == "Nullable`1" {
                    category = Category::Nullable;
                }
            }
        }

        let gps = md.generic_params(token);
        let mut variance = Vec::with_capacity(gps.len());
        for gp in gps {
            variance.push((md.generic_param(gp).map_err(bad)?.flags.bits() & 3) as u8);
        }

        let is_struct = category == Category::Struct;
        let is_byref_like = is_struct && md.has_attribute(token, COMPILER, "IsByRefLikeAttribute");
        let inline_array = if is_struct {
            inline_array_length(module, token)?
        } else {
            None
        };
        let is_intrinsic = md.has_attribute(token, COMPILER, "IntrinsicAttribute");

        let mut methods = Vec::with_capacity(row.method_list.len());
        let (mut cctor, mut default_ctor) = (None, None);
        let method_rids: Box<[u32]> = md.list_rows(TableId::MethodDef, row.method_list.clone()).collect();
        for &m in &method_rids {
            let r = md.method_def_cells(m).map_err(bad)?;
            let row = MethodRow {
                metadata: md,
                name: r.name,
                signature: r.signature,
                attributes: r.flags,
                impl_flags: r.impl_flags,
            };
            if r.flags.contains(MethodAttributes::RT_SPECIAL_NAME) {
                // A signature without parameters: convention, count 0.
                let no_params = row.signature().get(1) == Some(&0);
                if row.is_named(".cctor") && no_params {
                    cctor = Some(m);
                } else if row.is_named(".ctor") && no_params && !r.flags.contains(MethodAttributes::STATIC) {
                    default_ctor = Some(m);
                }
            }
            methods.push(row);
        }
        if methods.len() >= usize::from(u16::MAX) || variance.len() > 0x7FFF {
            return Err(module.bad_image("too many methods or generic parameters in one type"));
        }
        Ok(TypeDefInfo {
            module,
            rid,
            attributes: row.flags,
            name: row.name,
            namespace: row.namespace,
            enclosing: md.enclosing_type(rid),
            arity: variance.len() as u16,
            variance: variance.into(),
            category,
            element,
            is_delegate: parent_is("MulticastDelegate"),
            parent,
            is_byref_like,
            is_intrinsic,
            inline_array,
            fields: md.list_rows(TableId::Field, row.field_list).collect(),
            method_rids,
            methods: methods.into(),
            cctor,
            default_ctor,
            shape: OnceLock::new(),
        })
    }

    /// Defining module.
    pub fn module(&self) -> &'static Module {
        self.module
    }
    /// TypeDef token.
    pub fn token(&self) -> Token {
        Token::new(TableId::TypeDef, self.rid)
    }
    /// TypeDef row.
    pub fn rid(&self) -> u32 {
        self.rid
    }
    /// Attributes.
    pub fn attributes(&self) -> TypeAttributes {
        self.attributes
    }
    /// Simple name, with the arity suffix of generics.
    pub fn name(&self) -> &'static str {
        self.name
    }
    /// Namespace; empty for nested types.
    pub fn namespace(&self) -> &'static str {
        self.namespace
    }
    /// Definition this one is nested in.
    pub fn enclosing(&self) -> Option<&'static TypeDefInfo> {
        self.enclosing.and_then(|rid| self.module.type_def(rid).ok())
    }
    /// Number of generic parameters, including those repeated from enclosing types.
    pub fn generic_arity(&self) -> u16 {
        self.arity
    }
    /// Variance per generic parameter: 0 none, 1 covariant, 2 contravariant.
    pub fn variance(&self) -> &[u8] {
        &self.variance
    }
    /// Has a variant parameter.
    pub fn has_variance(&self) -> bool {
        self.variance.iter().any(|v| *v != 0)
    }
    /// Kind.
    pub fn category(&self) -> Category {
        self.category
    }
    /// Representation: the primitive for primitives and enums, else `ValueType`, `Void` or `Class`.
    pub fn element_type(&self) -> ElementType {
        self.element
    }
    /// Base class.
    pub fn parent(&self) -> Option<&ParentRef> {
        self.parent.as_ref()
    }
    /// Value type of any kind.
    pub fn is_value_type(&self) -> bool {
        !matches!(self.category, Category::Class | Category::Interface)
    }
    /// Interface.
    pub fn is_interface(&self) -> bool {
        self.category == Category::Interface
    }
    /// Enum.
    pub fn is_enum(&self) -> bool {
        self.category == Category::Enum
    }
    /// Derives directly from MulticastDelegate.
    pub fn is_delegate(&self) -> bool {
        self.is_delegate
    }
    /// `ref struct`.
    pub fn is_byref_like(&self) -> bool {
        self.is_byref_like
    }
    /// `[Intrinsic]`.
    pub fn is_intrinsic(&self) -> bool {
        self.is_intrinsic
    }
    /// `[InlineArray(N)]`.
    pub fn inline_array_length(&self) -> Option<u32> {
        self.inline_array
    }
    /// Field rows.
    pub fn field_rids(&self) -> &[u32] {
        &self.fields
    }
    /// Methods in metadata order.
    pub fn methods(&self) -> &[MethodRow] {
        &self.methods
    }
    /// MethodDef row of method `index`.
    pub fn method_rid(&self, index: usize) -> u32 {
        self.method_rids.get(index).copied().unwrap_or(0)
    }
    /// Index of a MethodDef row among this type's methods.
    pub fn method_index(&self, rid: u32) -> Option<usize> {
        // Rows of a type follow each other, except in modules of reflection emit.
        let i = rid.checked_sub(*self.method_rids.first()?)? as usize;
        if self.method_rids.get(i) == Some(&rid) {
            return Some(i);
        }
        self.method_rids.iter().position(|r| *r == rid)
    }
    /// Row of the static constructor.
    pub fn cctor_rid(&self) -> Option<u32> {
        self.cctor
    }
    /// Row of the parameterless constructor.
    pub fn default_ctor_rid(&self) -> Option<u32> {
        self.default_ctor
    }
    /// Whether this is the CoreLib type of that name.
    pub fn is_corelib_type(&self, namespace: &str, name: &str) -> bool {
        self.module.is_core_library() && self.enclosing.is_none() && self.name == name && self.namespace == namespace
    }
    /// Namespace, enclosing types joined by `+`, name.
    pub fn full_name(&self) -> String {
        match self.enclosing() {
            Some(e) => format!("{}+{}", e.full_name(), self.name),
            None if self.namespace.is_empty() => self.name.to_owned(),
            None => format!("{}.{}", self.namespace, self.name),
        }
    }
    /// Namespace and name without the enclosing types.
    pub fn plain_name(&self) -> String {
        match self.namespace {
            "" => self.name.to_owned(),
            namespace => format!("{namespace}.{}", self.name),
        }
    }
    /// A TypeLoad error about this type.
    pub fn type_load(&self, reason: impl Into<String>) -> LoadError {
        let reason = reason.into();
        // As in CoreCLR, a message that gives a reason leaves the enclosing types out.
        let gives_reason = !matches!(reason.as_str(), "" | crate::error::NOT_CREATED);
        LoadError::TypeLoad {
            type_name: if gives_reason {
                self.plain_name()
            } else {
                self.full_name()
            },
            assembly: self.module.assembly_display_name(),
            reason,
        }
    }
}

fn read_parent(module: &'static Module, token: Token) -> Result<ParentRef> {
    if token.is(TableId::TypeSpec) {
        let blob = module
            .metadata()
            .type_spec(token.rid())
            .map_err(|e| module.bad_image(e))?
            .signature;
        let sig = corten_metadata::sig::parse_type_spec(blob).map_err(|e| module.bad_image(e))?;
        return match sig {
            TypeSig::GenericInst { definition, args, .. } => Ok(ParentRef {
                def: module.resolve_type_def(definition)?,
                args: args.into(),
            }),
            TypeSig::Class(t) => Ok(ParentRef {
                def: module.resolve_type_def(t)?,
                args: Box::default(),
            }),
            TypeSig::Object => Ok(ParentRef {
                def: crate::well_known::core_def("System", "Object")?,
                args: Box::default(),
            }),
            _ => {
                let assembly = module.assembly_display_name();
                Err(LoadError::TypeLoad {
                    type_name: String::new(),
                    reason: format!("=Could not load TypeSpec from assembly '{assembly}'."),
                    assembly,
                })
            }
        };
    }
    Ok(ParentRef {
        def: module.resolve_type_def(token)?,
        args: Box::default(),
    })
}

fn enum_underlying(module: &'static Module, name: &str, fields: Range<u32>) -> Result<ElementType> {
    use corten_metadata::FieldAttributes;
    for f in module.metadata().list_rows(TableId::Field, fields) {
        let row = module.metadata().field(f).map_err(|e| module.bad_image(e))?;
        if !row.flags.contains(FieldAttributes::STATIC) {
            let sig = corten_metadata::sig::parse_field(row.signature).map_err(|e| module.bad_image(e))?;
            let e = crate::resolve::primitive_of(sig.strip_modifiers());
            return e.filter(|e| e.is_primitive()).ok_or_else(|| LoadError::TypeLoad {
                type_name: name.to_owned(),
                assembly: module.assembly_display_name(),
                reason: format!(
                    "=Type '{name}' from assembly '{}' has a field of an illegal type.",
                    module.assembly_display_name()
                ),
            });
        }
    }
    Err(LoadError::TypeLoad {
        type_name: String::new(),
        assembly: module.assembly_display_name(),
        reason: "=No Instance Field in an Enum.".into(),
    })
}

fn inline_array_length(module: &'static Module, token: Token) -> Result<Option<u32>> {
    let md = module.metadata();
    for ca in md.custom_attributes(token) {
        if md.attribute_type_name(ca).ok() == Some((COMPILER, "InlineArrayAttribute")) {
            let value = md.custom_attribute(ca).map_err(|e| module.bad_image(e))?.value;
            // Prolog 0x0001, then one int32 (ECMA-335 II.23.3).
            let n = value.get(2..6).and_then(|b| b.try_into().ok()).map(i32::from_le_bytes);
            return Ok(n.map(|n| n.max(0) as u32));
        }
    }
    Ok(None)
}
