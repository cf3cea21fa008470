//! Ergonomic construction of IR: used by the importer and by the engine for methods without IL (delegate thunks,
//! P/Invoke stubs, array accessors …).
//!
//! The builder keeps a current block, IL offset and protection list; every `emit` appends there. It checks nothing: run
//! [`crate::ir_check::check`] on the result in tests.

use crate::host_api::{CompilerHost, HostResult, Signature, TypeInfo, TypeKind};
use crate::ids::{MethodId, TypeId};
use crate::ir::*;
use cranelift_entity::PrimaryMap;
use rustc_hash::FxHashMap;

/// Type of the stack value of a kind; `None` for void.
pub fn stack_ty(kind: TypeKind, id: TypeId) -> Option<Ty> {
    Some(match kind {
        TypeKind::Void => return None,
        TypeKind::I1 | TypeKind::U1 | TypeKind::I2 | TypeKind::U2 | TypeKind::I4 | TypeKind::U4 => Ty::I32,
        TypeKind::I8 | TypeKind::U8 | TypeKind::NInt | TypeKind::NUInt => Ty::I64,
        TypeKind::R4 => Ty::F32,
        TypeKind::R8 => Ty::F64,
        TypeKind::Ref => Ty::Ref,
        TypeKind::ByRef => Ty::ByRef,
        TypeKind::Struct => Ty::Struct(id),
    })
}

/// Type of a memory access of a kind; `None` for void.
pub fn mem_ty(kind: TypeKind, id: TypeId) -> Option<MemTy> {
    Some(match kind {
        TypeKind::Void => return None,
        TypeKind::I1 => MemTy::I8,
        TypeKind::U1 => MemTy::U8,
        TypeKind::I2 => MemTy::I16,
        TypeKind::U2 => MemTy::U16,
        TypeKind::I4 | TypeKind::U4 => MemTy::I32,
        TypeKind::I8 | TypeKind::U8 | TypeKind::NInt | TypeKind::NUInt => MemTy::I64,
        TypeKind::R4 => MemTy::F32,
        TypeKind::R8 => MemTy::F64,
        TypeKind::Ref => MemTy::Ref,
        TypeKind::ByRef => MemTy::ByRef,
        TypeKind::Struct => MemTy::Struct(id),
    })
}

/// Stack type that a load of that memory type gives.
pub fn loaded_ty(ty: MemTy) -> Ty {
    match ty {
        MemTy::I8 | MemTy::U8 | MemTy::I16 | MemTy::U16 | MemTy::I32 => Ty::I32,
        MemTy::I64 => Ty::I64,
        MemTy::F32 => Ty::F32,
        MemTy::F64 => Ty::F64,
        MemTy::Ref => Ty::Ref,
        MemTy::ByRef => Ty::ByRef,
        MemTy::V128 => Ty::V128,
        MemTy::Struct(t) => Ty::Struct(t),
    }
}

/// Builds one [`Func`].
#[derive(Debug)]
pub struct FuncBuilder {
    /// The function so far; complete when every block has its terminator.
    pub func: Func,
    current: Block,
    il: u32,
    protect: ProtectId,
    protects: FxHashMap<Vec<ClauseId>, ProtectId>,
}

impl FuncBuilder {
    /// Starts a function: creates the argument locals (`this` first) and the entry block, which becomes current.
    /// `this` is the type of the owner when the signature has a `this`.
    pub fn new(
        host: &dyn CompilerHost,
        name: String,
        method: Option<MethodId>,
        sig: Signature,
        this: Option<&TypeInfo>,
    ) -> HostResult<FuncBuilder> {
        let mut builder = FuncBuilder::empty(name, method, sig);
        if let Some(owner) = this.filter(|_| builder.func.sig.has_this) {
            builder.func.this_is_byref = owner.is_value_type;
            let ty = if owner.is_value_type { Ty::ByRef } else { Ty::Ref };
            builder.push_local(LocalData {
                ty,
                type_id: owner.id,
                pinned: false,
                zero_init: false,
            });
        }
        for &param in builder.func.sig.params.clone().iter() {
            let info = host.type_info(param)?;
            let ty = stack_ty(info.kind, param)
                .ok_or_else(|| crate::host_api::HostError::InvalidProgram("parameter of type void".to_string()))?;
            builder.push_local(LocalData {
                ty,
                type_id: param,
                pinned: false,
                zero_init: false,
            });
        }
        builder.func.arg_count = builder.func.locals.len();
        Ok(builder)
    }

    /// A function without locals; the entry block is current.
    pub fn empty(name: String, method: Option<MethodId>, sig: Signature) -> FuncBuilder {
        let mut protects = PrimaryMap::new();
        let no_protect = protects.push(Vec::new());
        let mut blocks = PrimaryMap::new();
        let entry = blocks.push(BlockData {
            insts: Vec::new(),
            term: Term::Unreachable,
            term_il: NO_IL,
            term_site: SiteId::ROOT,
            protect: no_protect,
            cold: false,
            weight: None,
        });
        let func = Func {
            name,
            method,
            sig,
            this_is_byref: false,
            arg_count: 0,
            locals: PrimaryMap::new(),
            values: PrimaryMap::new(),
            blocks,
            entry,
            protects,
            clauses: PrimaryMap::new(),
            filters: Vec::new(),
            parent_locals: None,
            fixed_locals: 0,
            patchpoints: None,
            call_counter: None,
            il_blocks: Vec::new(),
            osr: false,
            exact: FxHashMap::default(),
            short_loops: Vec::new(),
            init_locals: false,
            sites: Vec::new(),
        };
        FuncBuilder {
            func,
            current: entry,
            il: NO_IL,
            protect: no_protect,
            protects: std::iter::once((Vec::new(), no_protect)).collect(),
        }
    }

    // --- structure

    /// Adds a local.
    pub fn push_local(&mut self, data: LocalData) -> Local {
        self.func.locals.push(data)
    }

    /// Adds a local of a type, not zeroed unless it holds references.
    pub fn temp(&mut self, ty: Ty, type_id: TypeId) -> Local {
        self.push_local(LocalData {
            ty,
            type_id,
            pinned: false,
            zero_init: false,
        })
    }

    /// The i-th argument (`this` is 0 if there is one).
    pub fn arg(&self, index: usize) -> Local {
        debug_assert!(index < self.func.arg_count);
        Local::from_u32(index as u32)
    }

    /// Interns a protection list, innermost clause first.
    pub fn intern_protect(&mut self, clauses: Vec<ClauseId>) -> ProtectId {
        if let Some(&id) = self.protects.get(&clauses) {
            return id;
        }
        let id = self.func.protects.push(clauses.clone());
        self.protects.insert(clauses, id);
        id
    }

    /// Protection list given to blocks created from now on.
    pub fn set_protect(&mut self, protect: ProtectId) {
        self.protect = protect;
    }

    /// Creates a block with the current protection list.
    pub fn create_block(&mut self) -> Block {
        self.func.blocks.push(BlockData {
            insts: Vec::new(),
            term: Term::Unreachable,
            term_il: NO_IL,
            term_site: SiteId::ROOT,
            protect: self.protect,
            cold: false,
            weight: None,
        })
    }

    /// Makes a block current.
    pub fn switch_to(&mut self, block: Block) {
        self.current = block;
    }

    /// The current block.
    pub fn current(&self) -> Block {
        self.current
    }

    /// Source position of the next instructions.
    pub fn set_il(&mut self, il: u32) {
        self.il = il;
    }

    /// Type of a value.
    pub fn ty(&self, value: Value) -> Ty {
        self.func.values[value]
    }

    /// Type of a local.
    pub fn local_ty(&self, local: Local) -> Ty {
        self.func.locals[local].ty
    }

    /// Marks the current block as rarely executed.
    pub fn mark_cold(&mut self) {
        self.func.blocks[self.current].cold = true;
    }

    /// Finishes: hands out the function.
    pub fn finish(self) -> Func {
        self.func
    }

    // --- instructions

    /// Appends an operation with a result.
    pub fn emit(&mut self, op: Op, ty: Ty) -> Value {
        let value = self.func.values.push(ty);
        self.func.blocks[self.current].insts.push(Inst {
            op,
            result: Some(value),
            il: self.il,
            site: SiteId::ROOT,
        });
        value
    }

    /// Appends an operation without result.
    pub fn emit_void(&mut self, op: Op) {
        self.func.blocks[self.current].insts.push(Inst {
            op,
            result: None,
            il: self.il,
            site: SiteId::ROOT,
        });
    }

    /// 32-bit constant.
    pub fn iconst32(&mut self, value: i32) -> Value {
        self.emit(Op::IConst(i64::from(value)), Ty::I32)
    }

    /// 64-bit constant.
    pub fn iconst64(&mut self, value: i64) -> Value {
        self.emit(Op::IConst(value), Ty::I64)
    }

    /// Constant pointer, untracked.
    pub fn address(&mut self, address: u64) -> Value {
        self.emit(Op::Address(address), Ty::I64)
    }

    /// Reference to a frozen object.
    pub fn frozen(&mut self, address: u64) -> Value {
        self.emit(Op::Address(address), Ty::Ref)
    }

    /// Null reference.
    pub fn null(&mut self) -> Value {
        self.emit(Op::Null, Ty::Ref)
    }

    /// Reads a local.
    pub fn get(&mut self, local: Local) -> Value {
        let ty = self.local_ty(local);
        self.emit(Op::LocalGet(local), ty)
    }

    /// Writes a local.
    pub fn set(&mut self, local: Local, value: Value) {
        self.emit_void(Op::LocalSet(local, value));
    }

    /// Managed pointer to a local.
    pub fn local_addr(&mut self, local: Local) -> Value {
        self.emit(Op::LocalAddr(local), Ty::ByRef)
    }

    /// Binary operation; the result has the type of `a`.
    pub fn bin(&mut self, op: BinOp, a: Value, b: Value) -> Value {
        let ty = self.ty(a);
        self.emit(Op::Bin(op, a, b), ty)
    }

    /// Comparison, I32 0 or 1.
    pub fn cmp(&mut self, cond: Cond, a: Value, b: Value) -> Value {
        self.emit(Op::Cmp(cond, a, b), Ty::I32)
    }

    /// Conversion to a type.
    pub fn conv(&mut self, op: ConvOp, value: Value, ty: Ty) -> Value {
        self.emit(Op::Conv(op, value), ty)
    }

    /// Vector operation.
    pub fn vector(&mut self, op: VecOp, lane: Lane, args: Vec<Value>) -> Value {
        self.emit(Op::Vector { op, lane, args }, op.result(lane))
    }

    /// Plain load.
    pub fn load(&mut self, ty: MemTy, addr: Value, offset: i32) -> Value {
        self.emit(
            Op::Load {
                ty,
                addr,
                offset,
                flags: MemFlags::default(),
            },
            loaded_ty(ty),
        )
    }

    /// Plain store.
    pub fn store(&mut self, ty: MemTy, addr: Value, offset: i32, value: Value, barrier: Barrier) {
        self.emit_void(Op::Store {
            ty,
            addr,
            offset,
            value,
            barrier,
            flags: MemFlags::default(),
        });
    }

    /// Null check.
    pub fn null_check(&mut self, value: Value) {
        self.emit_void(Op::NullCheck(value));
    }

    /// Pointer plus I64; the result has the base's type.
    pub fn ptr_add(&mut self, base: Value, bytes: Value) -> Value {
        let ty = self.ty(base);
        self.emit(Op::PtrAdd(base, bytes), ty)
    }

    /// Pointer plus a constant.
    pub fn ptr_add_const(&mut self, base: Value, bytes: i64) -> Value {
        if bytes == 0 {
            return base;
        }
        let bytes = self.iconst64(bytes);
        self.ptr_add(base, bytes)
    }

    /// Helper call with a result.
    pub fn helper(&mut self, helper: Helper, args: Vec<Value>, ty: Ty) -> Value {
        self.emit(Op::CallHelper { helper, args }, ty)
    }

    /// Helper call without result.
    pub fn helper_void(&mut self, helper: Helper, args: Vec<Value>) {
        self.emit_void(Op::CallHelper { helper, args });
    }

    /// Call; the result if `ret` is not `None`.
    pub fn call(
        &mut self,
        callee: Callee,
        sig: Signature,
        args: Vec<Value>,
        ret: Option<Ty>,
        tail: bool,
    ) -> Option<Value> {
        let op = Op::Call {
            callee,
            sig,
            args,
            tail,
        };
        match ret {
            Some(ty) => Some(self.emit(op, ty)),
            None => {
                self.emit_void(op);
                None
            }
        }
    }

    // --- terminators: end the current block (it stays current, so emitting after one is a bug that `check` does not see)

    /// Sets the terminator of the current block.
    pub fn terminate(&mut self, term: Term) {
        let il = self.il;
        let data = &mut self.func.blocks[self.current];
        data.term = term;
        data.term_il = il;
    }

    /// Unconditional jump.
    pub fn jump(&mut self, block: Block) {
        self.terminate(Term::Jump(block));
    }

    /// Two-way branch.
    pub fn branch(&mut self, cond: Value, then: Block, other: Block) {
        self.terminate(Term::Branch { cond, then, other });
    }

    /// Return.
    pub fn ret(&mut self, value: Option<Value>) {
        self.terminate(Term::Return(value));
    }

    /// A helper that never returns, then the end of the block, which becomes cold.
    pub fn raise(&mut self, helper: Helper, args: Vec<Value>) {
        self.helper_void(helper, args);
        self.mark_cold();
        self.terminate(Term::Unreachable);
    }
}
