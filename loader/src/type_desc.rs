//! Types without a MethodTable: pointers, byrefs, function pointers and generic variables.

use std::sync::atomic::AtomicUsize;

use corten_metadata::{GenericParamAttributes, Token, sig::CallingConvention};

use crate::{
    element_type::ElementType, error::Result, method_desc::MethodDesc, method_table::MethodTable, module::Module,
    type_handle::TypeHandle,
};

/// A type that no object can have. Aligned so that bit 1 of its address is free.
#[repr(align(16))]
pub struct TypeDesc {
    kind: TypeDescKind,
    open: bool,
    /// Address of the frozen `RuntimeType` object, 0 until the runtime has made it.
    pub exposed_object: AtomicUsize,
}

/// What the TypeDesc describes.
pub enum TypeDescKind {
    /// `T*`
    Pointer(TypeHandle),
    /// `T&`
    ByRef(TypeHandle),
    /// `method ret *(params)`
    FnPtr(FnPtrSignature),
    /// A generic parameter of a type or method definition.
    Variable(GenericVariable),
}

/// Signature of a function pointer type.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct FnPtrSignature {
    /// Raw calling convention byte of the signature (ECMA-335 II.23.2.1, including HASTHIS bits).
    pub calling_convention: u8,
    /// Return type.
    pub ret: TypeHandle,
    /// Parameter types.
    pub params: Box<[TypeHandle]>,
}

/// A generic parameter.
pub struct GenericVariable {
    /// Module of the definition.
    pub module: &'static Module,
    /// GenericParam token.
    pub token: Token,
    /// TypeDef or MethodDef token of the owner.
    pub owner: Token,
    /// Position in the parameter list.
    pub index: u16,
    /// Variance and special constraints.
    pub flags: GenericParamAttributes,
    /// Parameter name.
    pub name: &'static str,
}

impl GenericVariable {
    /// Whether the owner is a method.
    pub fn is_method_variable(&self) -> bool {
        self.owner.raw_table() == 6
    }

    /// The open generic type that declares this variable, or that declares its method.
    pub fn declaring_type(&self) -> Result<&'static MethodTable> {
        if self.is_method_variable() {
            return Ok(self.declaring_method()?.map_or_else(unreachable_owner, |m| m.owner()));
        }
        self.module.typical_type(self.owner.rid())
    }

    /// The generic method definition that declares this variable.
    pub fn declaring_method(&self) -> Result<Option<&'static MethodDesc>> {
        if !self.is_method_variable() {
            return Ok(None);
        }
        self.module.typical_method(self.owner.rid()).map(Some)
    }

    /// Declared constraint types, in the context of the declaring type and method.
    pub fn constraints(&self) -> Result<Vec<TypeHandle>> {
        crate::generics::variable_constraints(self)
    }
}

fn unreachable_owner() -> &'static MethodTable {
    // A method variable's owner is a method by construction (`is_method_variable`).
    crate::well_known::WellKnown::get().object
}

impl TypeDesc {
    pub(crate) fn new(kind: TypeDescKind) -> Self {
        let open = match &kind {
            TypeDescKind::Pointer(t) | TypeDescKind::ByRef(t) => t.contains_generic_variables(),
            TypeDescKind::FnPtr(s) => {
                s.ret.contains_generic_variables() || s.params.iter().any(|p| p.contains_generic_variables())
            }
            TypeDescKind::Variable(_) => true,
        };
        Self {
            kind,
            open,
            exposed_object: AtomicUsize::new(0),
        }
    }

    /// What it describes.
    pub fn kind(&self) -> &TypeDescKind {
        &self.kind
    }

    /// The generic variable, if it is one.
    pub fn as_variable(&self) -> Option<&GenericVariable> {
        match &self.kind {
            TypeDescKind::Variable(v) => Some(v),
            _ => None,
        }
    }

    /// The function pointer signature, if it is one.
    pub fn as_fn_ptr(&self) -> Option<&FnPtrSignature> {
        match &self.kind {
            TypeDescKind::FnPtr(s) => Some(s),
            _ => None,
        }
    }

    /// Handle of this TypeDesc.
    pub fn handle(&'static self) -> TypeHandle {
        TypeHandle::from_desc(self)
    }

    /// Whether a generic variable occurs inside.
    pub fn contains_generic_variables(&self) -> bool {
        self.open
    }

    /// Element type code.
    pub fn element_kind(&self) -> ElementType {
        match &self.kind {
            TypeDescKind::Pointer(_) => ElementType::Ptr,
            TypeDescKind::ByRef(_) => ElementType::ByRef,
            TypeDescKind::FnPtr(_) => ElementType::FnPtr,
            TypeDescKind::Variable(v) if v.is_method_variable() => ElementType::MVar,
            TypeDescKind::Variable(_) => ElementType::Var,
        }
    }
}

/// Calling convention byte of a function pointer signature.
pub(crate) fn calling_convention_byte(c: CallingConvention, has_this: bool, explicit_this: bool) -> u8 {
    let base = match c {
        CallingConvention::Default => 0,
        CallingConvention::C => 1,
        CallingConvention::StdCall => 2,
        CallingConvention::ThisCall => 3,
        CallingConvention::FastCall => 4,
        CallingConvention::VarArg => 5,
        CallingConvention::Unmanaged => 9,
    };
    base | if has_this { 0x20 } else { 0 } | if explicit_this { 0x40 } else { 0 }
}
