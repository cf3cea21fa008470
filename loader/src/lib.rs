//! Assemblies, the binder, the type system, MethodTables and precode.
//!
//! This crate never knows how code is made and never runs managed code: it produces MethodTables whose vtable
//! slots and MethodDescs whose entries lead to a prestub that somebody else provides ([`set_prestub`]).
//!
//! Every generic instantiation is exact. All structures are leaked, interned and compared by address. Loading
//! happens under one global reentrant lock ([`sync::enter_loader`]).
//!
//! Reading order: [`binder`] and [`assembly`] (names to images), [`module`] (token caches), [`type_def`] (what
//! metadata says), [`vtable`] (slot numbers), [`type_loader`] (levels), `layout` (offsets), [`method_desc`] and
//! [`precode`] (code entries), [`resolve`] (tokens), [`dispatch`], [`constrained`] and [`cast`] (questions about types).

pub mod access;
mod arena;
pub mod assembly;
pub mod binder;
pub mod cast;
pub mod cast_cache;
pub mod class;
pub mod collectible;
pub mod constrained;
pub mod dispatch;
pub mod dynamic;
pub mod dynamic_module;
pub mod element_type;
pub mod error;
pub mod field_desc;
pub mod friends;
pub mod generics;
pub mod init_table;
mod intern;
mod layout;
mod members;
pub mod method_desc;
pub mod method_table;
pub mod methods;
pub mod module;
pub mod names;
pub mod precode;
pub mod resolve;
mod rva;
mod sig_compare;
mod sig_text;
pub mod statics;
pub mod sync;
pub mod type_def;
pub mod type_desc;
pub mod type_handle;
pub mod type_loader;
mod type_rules;
mod variance;
pub mod vtable;
pub mod well_known;

pub use assembly::{Assembly, AssemblyName};
pub use binder::{Binder, BinderConfig, ResolveHook, ResolveStage};
pub use cast::{can_cast_to, is_instance_of};
pub use class::{ArrayInfo, Class, InstanceLayout, LoadLevel, init_state};
pub use constrained::{ConstrainedResult, resolve_constrained};
pub use dispatch::{resolve_interface, resolve_static_virtual, resolve_virtual};
pub use dynamic::new_dynamic_method;
pub use element_type::ElementType;
pub use error::{LoadError, Result, ThrownException};
pub use field_desc::{FieldDesc, FieldKind};
pub use method_desc::{MethodDesc, MethodKind, MethodSignature};
pub use method_table::MethodTable;
pub use methods::Methods;
pub use module::Module;
pub use names::{TypeNameFlags, format_method, format_type};
pub use precode::set_prestub;
pub use resolve::{GenericContext, ResolvedMember, ResolvedMethod};
pub use statics::{
    StaticStorage, StaticsHook, ThreadStaticsLayout, ensure_statics, ensure_thread_statics, set_statics_hook,
    static_field_address,
};
pub use type_def::{Category, TypeDefInfo};
pub use type_desc::{FnPtrSignature, GenericVariable, TypeDesc, TypeDescKind};
pub use type_handle::TypeHandle;
pub use type_loader::{ensure_full, instantiate, make_array, make_byref, make_fnptr, make_pointer};
pub use well_known::{WellKnown, corelib_type, primitive_type, string_ctor_target};
