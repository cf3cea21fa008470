//! IL to IR (ECMA-335 III).
//!
//! One importer serves both tiers. It walks the reachable IL blocks from the entry, simulating the evaluation stack with
//! typed entries; constants and type tests known while importing fold, and the branches they decide prune code. Non-empty
//! stacks at joins go through temporaries. Unverifiable but legal IL is accepted, malformed IL is
//! [`ImportError::InvalidProgram`], and tokens that cannot be resolved become throws at the instruction that uses them.

mod arith;
mod arrays;
mod blocks;
mod calls;
mod control;
mod convert;
mod delegates;
mod eh;
mod fields;
mod intrinsics;
mod loops;
mod memory;
mod objects;
mod stack;
mod step;

pub use loops::{LoopShape, loop_shape};

use crate::builder::{FuncBuilder, stack_ty};
use crate::host_api::{CompilerHost, HostError, HostResult, MethodInfo, Signature, TypeInfo, WellKnownType};
use crate::ids::{MethodId, TypeId};
use crate::ir::*;
use blocks::{BlockMap, Layout};
use corten_metadata::MethodBody;
use eh::EhState;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use stack::Entry;
use std::sync::Arc;

/// What the caller may choose.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Check managed and unmanaged pointers for null before an access, not only object references.
    pub check_pointers: bool,
    /// `this` of a value type's method is not null, or faulting on it is the caller's affair. Not so for code that is inlined,
    /// perhaps to where the fault has a handler.
    pub trust_this: bool,
    /// Expand intrinsics that have a usable IL body too (the must-expand ones always are).
    pub optional_intrinsics: bool,
    /// Tier 0: put patchpoints at loops.
    pub patchpoints: Option<Pace>,
    /// Make the function that goes on at the patchpoint of that IL offset.
    pub replace_at: Option<u32>,
}

impl Default for ImportOptions {
    fn default() -> Self {
        ImportOptions {
            check_pointers: true,
            trust_this: true,
            optional_intrinsics: true,
            patchpoints: None,
            replace_at: None,
        }
    }
}

/// What one import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportStats {
    /// IL bytes of the body.
    pub il_bytes: usize,
    /// IL instructions imported (reachable ones).
    pub il_instructions: usize,
    /// IR blocks made.
    pub blocks: usize,
    /// IR instructions made, terminators included.
    pub instructions: usize,
    /// IR locals, arguments and temporaries included.
    pub locals: usize,
    /// Calls replaced by an expansion.
    pub intrinsics: usize,
    /// Conditional branches decided while importing.
    pub folded_branches: usize,
    /// How often the import started over because a join needed a wider type.
    pub restarts: usize,
}

/// Why a method has no IR.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ImportError {
    /// Malformed IL: the engine raises InvalidProgramException.
    #[error("invalid program in {method} at IL_{il:04x}: {reason}")]
    InvalidProgram {
        /// Display name.
        method: String,
        /// IL offset.
        il: u32,
        /// What is wrong.
        reason: String,
    },
    /// Legal IL that this compiler does not handle.
    #[error("unsupported IL in {method} at IL_{il:04x}: {reason}")]
    Unsupported {
        /// Display name.
        method: String,
        /// IL offset.
        il: u32,
        /// What is not handled.
        reason: String,
    },
    /// The method's own signature, locals or body could not be loaded.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// Why importing an instruction stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    Invalid(String),
    Unsupported(String),
    /// Something does not load: the method cannot be compiled now.
    Deferred {
        cookie: u64,
        message: String,
    },
    /// Throw at this point of the code.
    AtUse {
        cookie: u64,
    },
    /// A join needs a wider type: start over.
    Restart,
}

impl From<HostError> for Stop {
    fn from(error: HostError) -> Stop {
        match error {
            HostError::Deferred { cookie, message } => Stop::Deferred { cookie, message },
            HostError::AtUse { cookie, .. } => Stop::AtUse { cookie },
            HostError::InvalidProgram(reason) => Stop::Invalid(reason),
        }
    }
}

pub(crate) type Step<T> = Result<T, Stop>;

fn invalid<T>(reason: impl Into<String>) -> Step<T> {
    Err(Stop::Invalid(reason.into()))
}

/// Imports a method from its IL.
pub fn import(host: &dyn CompilerHost, method: MethodId, options: &ImportOptions) -> Result<Func, ImportError> {
    import_with_stats(host, method, options).map(|(func, _)| func)
}

/// Imports a method from its IL and tells what that took.
pub fn import_with_stats(
    host: &dyn CompilerHost,
    method: MethodId,
    options: &ImportOptions,
) -> Result<(Func, ImportStats), ImportError> {
    let info = host.method_info(method)?;
    let body = host.method_body(method)?;
    let invalid_at = |il, reason| ImportError::InvalidProgram {
        method: host.method_display(method),
        il,
        reason,
    };
    let layout = Layout::new(&body).map_err(|(il, reason)| invalid_at(il, reason))?;
    let owner = host.type_info(info.owner)?;
    let il_locals = host.local_types(method)?;
    let mut widened = FxHashMap::default();
    let mut restarts = 0;
    loop {
        let mut builder = FuncBuilder::new(
            host,
            host.method_display(method),
            Some(method),
            info.sig.clone(),
            Some(&*owner),
        )?;
        let il_args = builder.func.arg_count;
        builder.func.init_locals = body.init_locals;
        for &(ty, pinned) in &il_locals {
            let type_info = host.type_info(ty)?;
            let Some(value_ty) = stack_ty(type_info.kind, ty) else {
                return Err(invalid_at(0, "local of type void".to_string()));
            };
            builder.push_local(LocalData {
                ty: value_ty,
                type_id: ty,
                pinned,
                zero_init: body.init_locals,
            });
        }
        let mut importer = Importer::new(
            host,
            method,
            info.clone(),
            owner.clone(),
            options,
            &body,
            &layout,
            builder,
            il_args,
            il_locals.len(),
            Region::Body,
            &mut widened,
        );
        match importer.run() {
            Ok(()) => {
                let mut stats = importer.stats;
                let replaced = options.replace_at.map(|il| (il, importer.loop_block(il)));
                let il_blocks = importer.blocks.starts();
                let mut func = importer.b.finish();
                func.il_blocks = il_blocks;
                if let Some((il, target)) = replaced {
                    let unsupported = |reason: String| ImportError::Unsupported {
                        method: host.method_display(method),
                        il,
                        reason,
                    };
                    let target = target.ok_or_else(|| unsupported("no loop to replace".to_string()))?;
                    crate::osr::enter_at(&mut func, target, host).map_err(|e| unsupported(e.to_string()))?;
                }
                stats.il_bytes = body.code.len();
                stats.blocks = func.blocks.len();
                stats.locals = func.locals.len();
                stats.instructions = func.blocks.values().map(|b| b.insts.len() + 1).sum();
                stats.restarts = restarts;
                return Ok((func, stats));
            }
            Err(Stop::Restart) if restarts < 64 => restarts += 1,
            Err(stop) => {
                let il = importer.at;
                let name = host.method_display(method);
                return Err(match stop {
                    Stop::Invalid(reason) => ImportError::InvalidProgram {
                        method: name,
                        il,
                        reason,
                    },
                    Stop::Unsupported(reason) => ImportError::Unsupported {
                        method: name,
                        il,
                        reason,
                    },
                    Stop::Restart => ImportError::InvalidProgram {
                        method: name,
                        il,
                        reason: "stack types at joins do not converge".to_string(),
                    },
                    Stop::Deferred { cookie, message } => ImportError::Host(HostError::Deferred { cookie, message }),
                    Stop::AtUse { cookie } => ImportError::Host(HostError::AtUse {
                        cookie,
                        message: String::new(),
                    }),
                });
            }
        }
    }
}

/// Which part of a method an importer makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Region {
    Body,
    /// Filter of a clause: from its offset to its handler.
    Filter {
        clause: usize,
    },
}

/// Prefixes waiting for their instruction (III.2).
#[derive(Clone, Copy, Default)]
pub(crate) struct Prefixes {
    pub constrained: Option<TypeId>,
    pub readonly: bool,
    pub tail: bool,
    pub flags: MemFlags,
}

/// State of one import.
pub(crate) struct Importer<'a, 'h> {
    pub host: &'h dyn CompilerHost,
    pub method: MethodId,
    pub info: Arc<MethodInfo>,
    pub owner: Arc<TypeInfo>,
    pub options: &'a ImportOptions,
    pub body: &'a MethodBody<'h>,
    pub layout: &'a Layout,
    pub b: FuncBuilder,
    pub il_args: usize,
    pub il_locals: usize,
    pub region: Region,
    pub blocks: BlockMap,
    pub widened: &'a mut FxHashMap<(u32, usize), Ty>,
    pub eh: EhState,
    pub stack: Vec<Entry>,
    pub prefixes: Prefixes,
    /// Locals proved non-null since the start of the current IR block.
    pub non_null: SmallVec<[Local; 4]>,
    /// Types whose initialiser ran since the start of the current IR block.
    pub initialised: SmallVec<[TypeId; 4]>,
    pub stats: ImportStats,
    /// IL offset of the current instruction.
    pub at: u32,
    types: FxHashMap<TypeId, Arc<TypeInfo>>,
}

impl<'a, 'h> Importer<'a, 'h> {
    #[allow(clippy::too_many_arguments, reason = "one private constructor")]
    fn new(
        host: &'h dyn CompilerHost,
        method: MethodId,
        info: Arc<MethodInfo>,
        owner: Arc<TypeInfo>,
        options: &'a ImportOptions,
        body: &'a MethodBody<'h>,
        layout: &'a Layout,
        b: FuncBuilder,
        il_args: usize,
        il_locals: usize,
        region: Region,
        widened: &'a mut FxHashMap<(u32, usize), Ty>,
    ) -> Self {
        Importer {
            host,
            method,
            info,
            owner,
            options,
            body,
            layout,
            b,
            il_args,
            il_locals,
            region,
            blocks: BlockMap::default(),
            widened,
            eh: EhState::default(),
            stack: Vec::with_capacity(8),
            prefixes: Prefixes::default(),
            non_null: SmallVec::new(),
            initialised: SmallVec::new(),
            stats: ImportStats::default(),
            at: 0,
            types: FxHashMap::default(),
        }
    }

    /// Imports the whole method.
    fn run(&mut self) -> Step<()> {
        self.setup_clauses()?;
        self.start_body()?;
        self.b.func.fixed_locals = self.b.func.locals.len();
        self.b.func.patchpoints = self.options.patchpoints;
        if self.starts_unprotected() {
            // The entry block itself continues with the IL.
            let entry = self.b.current();
            self.enter_at(0, entry, Vec::new())?;
        } else {
            let target = self.edge(0)?;
            self.b.jump(target);
        }
        self.drain()?;
        self.finish_clauses();
        Ok(())
    }

    /// Nothing jumps back to IL offset 0 and no clause protects it.
    fn starts_unprotected(&mut self) -> bool {
        !self.layout.is_leader(0) && self.protect_at(0).as_u32() == 0
    }

    /// Imports the filter of a clause into `b`, whose locals are the parent's and then the exception.
    fn run_filter(&mut self, start: u32, exception: Local) -> Step<()> {
        let value = self.b.get(exception);
        self.push_value(value);
        let target = self.edge(start)?;
        self.b.jump(target);
        self.drain()
    }

    /// Imports blocks until none is waiting.
    fn drain(&mut self) -> Step<()> {
        while let Some(offset) = self.blocks.queue.pop() {
            self.import_block(offset)?;
        }
        Ok(())
    }

    /// Type information, cached.
    pub fn type_info(&mut self, ty: TypeId) -> HostResult<Arc<TypeInfo>> {
        if let Some(info) = self.types.get(&ty) {
            return Ok(info.clone());
        }
        let info = self.host.type_info(ty)?;
        self.types.insert(ty, info.clone());
        Ok(info)
    }

    /// Stack type of a type; `None` for void.
    pub fn stack_ty_of(&mut self, ty: TypeId) -> Step<Option<Ty>> {
        Ok(stack_ty(self.type_info(ty)?.kind, ty))
    }

    /// The well-known type of temporaries of that stack type.
    pub fn type_of_temp(&self, ty: Ty) -> TypeId {
        self.host.well_known(match ty {
            Ty::I32 => WellKnownType::Int32,
            Ty::I64 | Ty::ByRef => WellKnownType::IntPtr,
            Ty::F32 => WellKnownType::Single,
            Ty::F64 => WellKnownType::Double,
            Ty::Ref => WellKnownType::Object,
            Ty::V128 => return TypeId(0),
            Ty::Struct(t) => return t,
        })
    }

    /// A new temporary.
    pub fn temp(&mut self, ty: Ty) -> Local {
        let type_id = self.type_of_temp(ty);
        self.b.temp(ty, type_id)
    }

    /// Signature of the function being made (a filter has its own).
    pub fn own_sig(&self) -> &Signature {
        &self.b.func.sig
    }
}
