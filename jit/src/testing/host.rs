//! [`CompilerHost`] over tables of declared types and members. Ids are indices.

use crate::host_api::*;
use crate::ids::{FieldId, MethodId, TypeId};
use crate::ir::Helper;
use crate::profile::{ClassProfile, TargetProfile};
use corten_metadata::{EhClause, MethodBody, Token};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// A declared type.
#[derive(Clone, Debug)]
pub(super) struct TypeDecl {
    pub info: Arc<TypeInfo>,
    /// Base class and interfaces.
    pub bases: Vec<TypeId>,
    pub element: Option<TypeId>,
}

/// IL of a test method.
#[derive(Clone, Debug, Default)]
pub(super) struct BodyDecl {
    pub code: Vec<u8>,
    pub clauses: Vec<EhClause>,
    pub locals: Vec<(TypeId, bool)>,
    pub init_locals: bool,
}

/// What a token stands for.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Type(TypeId),
    Method(MethodId),
    Field(FieldId),
    Signature(Signature),
    String,
    Deferred,
}

#[derive(Debug, Default)]
pub(super) struct Tables {
    pub types: Vec<TypeDecl>,
    pub type_names: FxHashMap<String, TypeId>,
    pub methods: Vec<Arc<MethodInfo>>,
    pub method_names: FxHashMap<String, MethodId>,
    pub fields: Vec<Arc<FieldInfo>>,
    pub field_names: FxHashMap<String, FieldId>,
    pub class_init: FxHashMap<TypeId, u64>,
    pub static_values: FxHashMap<FieldId, StaticValue>,
    pub tokens: Vec<Target>,
    /// By class and the method called, the name of the method reached.
    pub overrides: FxHashMap<(TypeId, MethodId), String>,
    /// Profiles by method name and IL offset.
    pub classes_seen: FxHashMap<(String, u32), Vec<(TypeId, u32)>>,
    pub targets_seen: FxHashMap<(String, u32), Vec<(String, u32)>>,
    pub counts: FxHashMap<String, Vec<(u32, u32)>>,
}

/// The mock.
#[derive(Debug)]
pub struct MockHost {
    pub(super) tables: Mutex<Tables>,
    pub(super) bodies: FxHashMap<MethodId, BodyDecl>,
    pub(super) tests: Vec<MethodId>,
    /// Where the helpers are, if the code is to run.
    pub(super) helpers: Option<fn(Helper) -> u64>,
}

const WELL_KNOWN: [(&str, TypeKind, u32); 23] = [
    ("void", TypeKind::Void, 0),
    ("object", TypeKind::Ref, 8),
    ("string", TypeKind::Ref, 8),
    ("bool", TypeKind::U1, 1),
    ("char", TypeKind::U2, 2),
    ("sbyte", TypeKind::I1, 1),
    ("byte", TypeKind::U1, 1),
    ("short", TypeKind::I2, 2),
    ("ushort", TypeKind::U2, 2),
    ("int", TypeKind::I4, 4),
    ("uint", TypeKind::U4, 4),
    ("long", TypeKind::I8, 8),
    ("ulong", TypeKind::U8, 8),
    ("nint", TypeKind::NInt, 8),
    ("nuint", TypeKind::NUInt, 8),
    ("float", TypeKind::R4, 4),
    ("double", TypeKind::R8, 8),
    ("typedref", TypeKind::Struct, 16),
    ("RuntimeTypeHandle", TypeKind::Struct, 8),
    ("RuntimeMethodHandle", TypeKind::Struct, 8),
    ("RuntimeFieldHandle", TypeKind::Struct, 8),
    ("Exception", TypeKind::Ref, 8),
    ("RuntimeType", TypeKind::Ref, 8),
];

fn missing<T>(what: &str) -> HostResult<T> {
    Err(HostError::InvalidProgram(format!("unknown {what}")))
}

impl Tables {
    pub fn add_type(&mut self, name: &str, kind: TypeKind, size: u32, edit: impl FnOnce(&mut TypeDecl)) -> TypeId {
        let id = TypeId(self.types.len() as u64);
        let is_ref = matches!(kind, TypeKind::Ref | TypeKind::ByRef);
        let mut decl = TypeDecl {
            info: Arc::new(TypeInfo {
                id,
                kind,
                size,
                align: size.clamp(1, 8),
                is_value_type: !is_ref,
                fields: Arc::new([]),
                has_gc_pointers: is_ref,
                vector_size: None,
                vectors: Arc::from([]),
                nullable_of: None,
                is_delegate: false,
                is_interface: false,
                is_exact: !is_ref || name == "string",
                name: name.split('<').next().unwrap_or(name).into(),
                instantiation: Arc::new([]),
                method_table: 0x10000 + id.0 * 0x100,
            }),
            bases: Vec::new(),
            element: None,
        };
        edit(&mut decl);
        self.types.push(decl);
        self.type_names.insert(name.to_string(), id);
        id
    }

    /// A type by name; arrays, byrefs and pointers are made on demand.
    pub fn type_named(&mut self, name: &str) -> Result<TypeId, String> {
        let name = name.trim();
        if let Some(&id) = self.type_names.get(name) {
            return Ok(id);
        }
        let derived = |suffix: &str| name.strip_suffix(suffix).map(str::to_string);
        if let Some(element) = derived("&") {
            let element = self.type_named(&element)?;
            return Ok(self.add_type(name, TypeKind::ByRef, 8, |t| t.element = Some(element)));
        }
        if let Some(element) = derived("*") {
            let element = self.type_named(&element)?;
            return Ok(self.add_type(name, TypeKind::NUInt, 8, |t| t.element = Some(element)));
        }
        let bracket = name.rfind('[').filter(|_| name.ends_with(']'));
        if let Some(at) = bracket {
            let element = self.type_named(&name[..at])?;
            let exact = self.types[element.0 as usize].info.is_exact;
            let object = self.type_names["object"];
            return Ok(self.add_type(name, TypeKind::Ref, 8, |t| {
                t.element = Some(element);
                t.bases = vec![object];
                Arc::make_mut(&mut t.info).is_exact = exact;
            }));
        }
        Err(format!("unknown type {name}"))
    }

    /// Rank of an array type by its name.
    fn rank(name: &str) -> Option<usize> {
        let at = name.rfind('[').filter(|_| name.ends_with(']'))?;
        Some(name[at..].matches(',').count() + 1)
    }

    /// A method by `Owner::Name` or alias; accessors of multi-dimensional arrays are made on demand.
    pub fn method_named(&mut self, name: &str) -> Result<MethodId, String> {
        if let Some(&id) = self.method_names.get(name) {
            return Ok(id);
        }
        let unknown = || format!("unknown method {name}");
        let (owner, member) = name.split_once("::").ok_or_else(unknown)?;
        let rank = Self::rank(owner).ok_or_else(unknown)?;
        let int = self.type_named("int")?;
        let void = self.type_named("void")?;
        let owner_id = self.type_named(owner)?;
        let element = self.types[owner_id.0 as usize].element.ok_or_else(unknown)?;
        let element_name = owner[..owner.rfind('[').unwrap_or(0)].to_string();
        let mut params = vec![int; rank];
        let (accessor, ret) = match member {
            "Get" => (ArrayAccessor::Get, element),
            "Set" => {
                params.push(element);
                (ArrayAccessor::Set, void)
            }
            "Address" => (ArrayAccessor::Address, self.type_named(&format!("{element_name}&"))?),
            ".ctor" => (ArrayAccessor::Ctor, void),
            _ => return Err(unknown()),
        };
        let sig = Signature {
            has_this: true,
            ret,
            params: params.into(),
            convention: Convention::Managed,
        };
        Ok(self.add_method(name, owner_id, member, sig, |m| {
            m.array_accessor = Some(accessor);
            m.is_constructor = accessor == ArrayAccessor::Ctor;
        }))
    }

    pub fn add_method(
        &mut self,
        key: &str,
        owner: TypeId,
        name: &str,
        sig: Signature,
        edit: impl FnOnce(&mut MethodInfo),
    ) -> MethodId {
        let id = MethodId(self.methods.len() as u64);
        let mut info = MethodInfo {
            id,
            owner,
            is_static: !sig.has_this,
            sig,
            owner_name: self.types[owner.0 as usize].info.name.clone(),
            name: name.into(),
            instantiation: Arc::new([]),
            is_virtual: false,
            is_abstract: false,
            is_intrinsic: false,
            is_constructor: name == ".ctor",
            no_inlining: false,
            aggressive_inlining: false,
            synchronized: false,
            dispatch: Dispatch::Direct,
            entry_slot: 0x20000 + id.0 * 8,
            is_delegate_invoke: false,
            is_delegate_ctor: false,
            string_factory: None,
            array_accessor: None,
        };
        edit(&mut info);
        self.methods.push(Arc::new(info));
        self.method_names.insert(key.to_string(), id);
        id
    }

    pub fn token(&mut self, target: Target) -> Token {
        self.tokens.push(target);
        Token(0x0a00_0000 | self.tokens.len() as u32)
    }

    fn target(&self, token: Token) -> HostResult<Target> {
        let target = (token.0 & 0xff_ffff)
            .checked_sub(1)
            .and_then(|i| self.tokens.get(i as usize));
        match target {
            Some(Target::Deferred) => Err(HostError::AtUse {
                cookie: u64::from(token.0 & 0xff_ffff),
                message: "deferred".to_string(),
            }),
            Some(target) => Ok(target.clone()),
            None => missing("token"),
        }
    }

    fn castable(&self, from: TypeId, to: TypeId) -> bool {
        from == to || self.types[from.0 as usize].bases.iter().any(|b| self.castable(*b, to))
    }
}

impl MockHost {
    pub(super) fn empty() -> MockHost {
        let mut tables = Tables::default();
        for (name, kind, size) in WELL_KNOWN {
            tables.add_type(name, kind, size, |t| {
                if kind == TypeKind::Struct {
                    let info = Arc::make_mut(&mut t.info);
                    info.has_gc_pointers = true;
                    info.fields = if name == "typedref" {
                        Arc::new([
                            FlatField {
                                offset: 0,
                                kind: TypeKind::ByRef,
                            },
                            FlatField {
                                offset: 8,
                                kind: TypeKind::NInt,
                            },
                        ])
                    } else {
                        Arc::new([FlatField {
                            offset: 0,
                            kind: TypeKind::Ref,
                        }])
                    };
                }
                if kind == TypeKind::Ref && name != "object" {
                    t.bases = vec![TypeId(1)];
                }
            });
        }
        MockHost {
            helpers: None,
            tables: Mutex::new(tables),
            bodies: FxHashMap::default(),
            tests: Vec::new(),
        }
    }

    /// Gives compiled code helpers that can be called.
    pub fn set_helpers(&mut self, address: fn(Helper) -> u64) {
        self.helpers = Some(address);
    }

    /// Bytes of IL of a method with a body.
    pub fn body_size(&self, method: MethodId) -> usize {
        self.bodies.get(&method).map_or(0, |body| body.code.len())
    }

    /// The `.test` methods in order.
    pub fn tests(&self) -> Vec<MethodId> {
        self.tests.clone()
    }

    fn type_decl(&self, ty: TypeId) -> HostResult<TypeDecl> {
        match self.tables.lock().types.get(ty.0 as usize) {
            Some(decl) => Ok(decl.clone()),
            None => missing("type"),
        }
    }

    fn derived(&self, ty: TypeId, suffix: &str) -> HostResult<TypeId> {
        let mut tables = self.tables.lock();
        let name = tables
            .type_names
            .iter()
            .find(|(_, id)| **id == ty)
            .map(|(name, _)| name.clone());
        match name {
            Some(name) => tables
                .type_named(&format!("{name}{suffix}"))
                .map_err(HostError::InvalidProgram),
            None => missing("type"),
        }
    }
}

impl CompilerHost for MockHost {
    fn method_info(&self, method: MethodId) -> HostResult<Arc<MethodInfo>> {
        match self.tables.lock().methods.get(method.0 as usize) {
            Some(info) => Ok(info.clone()),
            None => missing("method"),
        }
    }

    fn method_body(&self, method: MethodId) -> HostResult<MethodBody<'_>> {
        let Some(body) = self.bodies.get(&method) else {
            return missing("method body");
        };
        Ok(MethodBody {
            max_stack: 8,
            init_locals: body.init_locals,
            local_var_sig: None,
            code: &body.code,
            clauses: body.clauses.clone(),
        })
    }

    fn local_types(&self, method: MethodId) -> HostResult<Vec<(TypeId, bool)>> {
        match self.bodies.get(&method) {
            Some(body) => Ok(body.locals.clone()),
            None => missing("method body"),
        }
    }

    fn method_display(&self, method: MethodId) -> String {
        match self.tables.lock().methods.get(method.0 as usize) {
            Some(info) => info.name.to_string(),
            None => "?".to_string(),
        }
    }

    fn type_info(&self, ty: TypeId) -> HostResult<Arc<TypeInfo>> {
        Ok(self.type_decl(ty)?.info)
    }

    fn plain_object(&self, method_table: u64) -> Option<TypeId> {
        let id = TypeId(method_table.checked_sub(0x10000)? / 0x100);
        self.type_info(id).is_ok().then_some(id)
    }
    fn well_known(&self, ty: WellKnownType) -> TypeId {
        TypeId(ty as u64)
    }

    fn byref_of(&self, ty: TypeId) -> HostResult<TypeId> {
        self.derived(ty, "&")
    }

    fn element_type(&self, ty: TypeId) -> HostResult<TypeId> {
        match self.type_decl(ty)?.element {
            Some(element) => Ok(element),
            None => missing("element type"),
        }
    }

    fn szarray_of(&self, element: TypeId) -> HostResult<TypeId> {
        self.derived(element, "[]")
    }

    fn dispatch_stub(&self, _: MethodId) -> HostResult<u64> {
        // Nothing that this host compiles is run.
        Ok(0x40000)
    }
    fn compare_types_for_cast(&self, from: TypeId, to: TypeId) -> Option<bool> {
        let tables = self.tables.lock();
        if tables.castable(from, to) {
            return Some(true);
        }
        tables.types.get(from.0 as usize)?.info.is_exact.then_some(false)
    }

    fn class_init(&self, ty: TypeId, _from: MethodId) -> HostResult<ClassInit> {
        Ok(match self.tables.lock().class_init.get(&ty) {
            Some(&flag_address) => ClassInit::Check { flag_address },
            None => ClassInit::NotNeeded,
        })
    }

    fn static_value(&self, field: FieldId) -> Option<StaticValue> {
        self.tables.lock().static_values.get(&field).copied()
    }

    fn resolve_type(&self, _scope: MethodId, token: Token) -> HostResult<TypeId> {
        match self.tables.lock().target(token)? {
            Target::Type(ty) => Ok(ty),
            _ => missing("type token"),
        }
    }

    fn resolve_method(&self, _scope: MethodId, token: Token) -> HostResult<Arc<MethodInfo>> {
        let tables = self.tables.lock();
        match tables.target(token)? {
            Target::Method(method) => Ok(tables.methods[method.0 as usize].clone()),
            _ => missing("method token"),
        }
    }

    fn resolve_field(&self, _scope: MethodId, token: Token) -> HostResult<Arc<FieldInfo>> {
        let tables = self.tables.lock();
        match tables.target(token)? {
            Target::Field(field) => Ok(tables.fields[field.0 as usize].clone()),
            _ => missing("field token"),
        }
    }

    fn resolve_signature(&self, _scope: MethodId, token: Token) -> HostResult<Signature> {
        match self.tables.lock().target(token)? {
            Target::Signature(sig) => Ok(sig),
            _ => missing("signature token"),
        }
    }

    fn resolve_handle(&self, _scope: MethodId, token: Token) -> HostResult<TokenHandle> {
        Ok(match self.tables.lock().target(token)? {
            Target::Type(ty) => TokenHandle::Type(ty),
            Target::Method(method) => TokenHandle::Method(method),
            Target::Field(field) => TokenHandle::Field(field),
            _ => return missing("handle token"),
        })
    }

    fn resolve_constrained(&self, constrained: TypeId, method: MethodId) -> HostResult<Constrained> {
        let mut tables = self.tables.lock();
        let Some(decl) = tables.types.get(constrained.0 as usize).cloned() else {
            return missing("type");
        };
        if !decl.info.is_value_type {
            return Ok(Constrained::Dereference);
        }
        let name = tables.methods[method.0 as usize].name.clone();
        let key = format!("{}::{name}", decl.info.name);
        Ok(match tables.method_named(&key) {
            Ok(method) => Constrained::Direct(method),
            Err(_) => Constrained::Box,
        })
    }

    fn field_by_name(&self, ty: TypeId, name: &str) -> Option<Arc<FieldInfo>> {
        let tables = self.tables.lock();
        tables
            .fields
            .iter()
            .find(|f| f.owner == ty && &*f.name == name)
            .cloned()
    }

    fn closes_simply(&self, method: MethodId) -> bool {
        let tables = self.tables.lock();
        let info = tables.methods.get(method.0 as usize);
        info.is_some_and(|m| !m.is_static && !tables.types[m.owner.0 as usize].info.is_value_type)
    }

    fn string_literal(&self, _scope: MethodId, token: Token) -> HostResult<u64> {
        match self.tables.lock().target(token)? {
            Target::String => Ok(0x50000 + u64::from(token.0 & 0xffff) * 32),
            _ => missing("string token"),
        }
    }

    fn runtime_type_object(&self, ty: TypeId) -> HostResult<u64> {
        Ok(0x60000 + ty.0 * 16)
    }

    fn runtime_handle_object(&self, handle: TokenHandle) -> HostResult<u64> {
        Ok(match handle {
            TokenHandle::Type(ty) => 0x60000 + ty.0 * 16,
            TokenHandle::Method(method) => 0x70000 + method.0 * 16,
            TokenHandle::Field(field) => 0x80000 + field.0 * 16,
        })
    }

    fn stable_entry(&self, method: MethodId) -> HostResult<u64> {
        Ok(0x30000 + method.0 * 16)
    }

    fn class_profile(&self, method: MethodId, il: u32) -> Option<ClassProfile> {
        let tables = self.tables.lock();
        let name = tables.methods.get(method.0 as usize)?.name.to_string();
        let seen = tables.classes_seen.get(&(name, il))?.clone();
        let total = seen.iter().map(|s| s.1).sum();
        Some(ClassProfile { seen, total })
    }

    fn block_counters(&self, _: MethodId, _: &[u32]) -> Option<u64> {
        Some(0x9_0000)
    }

    fn block_counts(&self, method: MethodId) -> Option<Vec<(u32, u32)>> {
        let tables = self.tables.lock();
        let name = tables.methods.get(method.0 as usize)?.name.to_string();
        tables.counts.get(&name).cloned()
    }

    fn target_profile(&self, method: MethodId, il: u32) -> Option<TargetProfile> {
        let mut tables = self.tables.lock();
        let name = tables.methods.get(method.0 as usize)?.name.to_string();
        let names = tables.targets_seen.get(&(name, il))?.clone();
        let total = names.iter().map(|s| s.1).sum();
        let seen = names
            .iter()
            .filter_map(|(name, n)| Some((tables.method_named(name).ok()?, *n)));
        let seen = seen.collect();
        Some(TargetProfile { seen, total })
    }

    fn method_on_class(&self, class: TypeId, method: MethodId) -> Option<Arc<MethodInfo>> {
        let mut tables = self.tables.lock();
        let name = tables.overrides.get(&(class, method))?.clone();
        let target = tables.method_named(&name).ok()?;
        tables.methods.get(target.0 as usize).cloned()
    }

    fn helper_address(&self, helper: Helper) -> u64 {
        self.helpers
            .map_or(0x40000 + helper as u64 * 16, |address| address(helper))
    }

    fn cpu(&self) -> CpuFeatures {
        CpuFeatures {
            x64_v2: true,
            lzcnt: true,
            movbe: true,
            bmi1: false,
            bmi2: false,
            fma: true,
            avx: false,
            avx2: false,
        }
    }
}

impl MockHost {
    /// Gives a test method other code (fuzzing).
    pub fn replace_body(&mut self, method: MethodId, code: Vec<u8>, clauses: Vec<EhClause>) {
        let body = self.bodies.entry(method).or_default();
        body.code = code;
        body.clauses = clauses;
    }
}
