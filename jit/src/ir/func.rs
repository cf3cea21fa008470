//! Functions: blocks, locals, exception regions, inlined calls.

use super::*;

/// Contents of a [`Block`].
#[derive(Clone, Debug)]
pub struct BlockData {
    /// Straight-line code.
    pub insts: Vec<Inst>,
    /// How control leaves the block.
    pub term: Term,
    /// IL offset of the end, or [`NO_IL`].
    pub term_il: u32,
    /// Whose IL the end belongs to.
    pub term_site: SiteId,
    /// The clauses in force in the whole block.
    pub protect: ProtectId,
    /// Rarely executed (throw paths).
    pub cold: bool,
    /// How often it ran while the profile was collected, in a scale of the function's own; `None`: not known.
    pub weight: Option<f32>,
}

/// A call that was replaced by the body of its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InlineSite {
    /// Whose IL the call is in.
    pub parent: SiteId,
    /// IL offset of the call.
    pub call_il: u32,
    /// The method whose body it is.
    pub method: MethodId,
}

/// What is known of a [`Local`].
#[derive(Clone, Debug)]
pub struct LocalData {
    /// Type on the evaluation stack.
    pub ty: Ty,
    /// Exact type (for structs and for narrow integers whose store truncates).
    pub type_id: TypeId,
    /// `pinned` local: its referent must not move while it is set.
    pub pinned: bool,
    /// Must be zeroed at entry even without references (`.locals init`).
    pub zero_init: bool,
}

/// What an EH clause does with an exception (ECMA-335 II.25.4.6).
#[derive(Clone, Debug)]
pub enum ClauseKind {
    /// Handles exceptions of that type.
    Catch(TypeId),
    /// Separate function `i32 (exception, parent frame locals base)`, index in [`Func::filters`].
    Filter(usize),
    /// Runs however the try block is left.
    Finally,
    /// Runs only if an exception leaves the try block.
    Fault,
}

/// An EH clause of the function.
#[derive(Clone, Debug)]
pub struct Clause {
    /// What it does.
    pub kind: ClauseKind,
    /// First block of the handler.
    pub handler: Block,
    /// Receives the exception object.
    pub exception_local: Local,
    /// Finally/fault: receives the dispatch record (I64) and the selector (I32, 0 = exceptional entry).
    pub record_local: Option<Local>,
    /// See `record_local`.
    pub selector_local: Option<Local>,
    /// IL ranges, for diagnostics.
    pub try_range: (u32, u32),
    /// See `try_range`.
    pub handler_range: (u32, u32),
}

/// A function in IR.
#[derive(Clone, Debug)]
pub struct Func {
    /// Display name.
    pub name: String,
    /// The method this is the code of; stubs have none.
    pub method: Option<MethodId>,
    /// Types of the arguments and of the result.
    pub sig: Signature,
    /// Type of `this` when `sig.has_this`: Ref, or ByRef for value types.
    pub this_is_byref: bool,
    /// `locals[0..arg_count]` are the arguments in order (`this` first).
    pub arg_count: usize,
    /// Arguments and local variables.
    pub locals: PrimaryMap<Local, LocalData>,
    /// Type of each value.
    pub values: PrimaryMap<Value, Ty>,
    /// The code. Blocks are in no particular order.
    pub blocks: PrimaryMap<Block, BlockData>,
    /// Where execution starts; never the target of a branch.
    pub entry: Block,
    /// Interned protection lists; index 0 is empty.
    pub protects: PrimaryMap<ProtectId, Vec<ClauseId>>,
    /// EH clauses, in the order of the method's table.
    pub clauses: PrimaryMap<ClauseId, Clause>,
    /// Filter bodies. Their `parent_locals` first locals are those of this function, reached through the base pointer.
    pub filters: Vec<Func>,
    /// For a filter: how many of `locals` live in the parent's frame (same indices and layout as the parent's).
    pub parent_locals: Option<usize>,
    /// `SkipLocalsInit` etc.: default for locals without references.
    pub init_locals: bool,
    /// Inlined calls: [`SiteId`] `n` is element `n - 1`; 0 is the function itself.
    pub sites: Vec<InlineSite>,
    /// So many of the first locals mean the same in every import of the method: arguments, IL locals, locals of clauses.
    pub fixed_locals: usize,
    /// As imported: the blocks that begin where a block of the IL does, by IL offset. Passes that make blocks leave it empty.
    pub il_blocks: Vec<(u32, Block)>,
    /// Has patchpoints, with this pace: every fixed local has a home in memory.
    pub patchpoints: Option<Pace>,
    /// Tier 0: address of the 32-bit counter that each call takes one from; at zero the call first calls
    /// [`Helper::CallCounted`]. `None`: calls are not counted.
    pub call_counter: Option<u64>,
    /// Goes on where a Tier-0 frame is ([`crate::osr`]): its only argument is the address of that frame's area, and the return
    /// buffer if there is one. `sig` still tells the result.
    pub osr: bool,
    /// Values that are never null and whose object has exactly that class.
    pub exact: FxHashMap<Value, TypeId>,
    /// Headers of loops that need no unrolling: vector loops and what they leave over. Only valid from one pass to the next.
    pub short_loops: Vec<Block>,
}

/// How often a frame's patchpoints ask for a replacement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// Loop iterations before the first question.
    pub first: u32,
    /// Iterations between further questions.
    pub next: u32,
}

impl Pace {
    /// What a frame's counter holds at first, to be used up after that many iterations: then it is negative. It is always less than
    /// any request to stop at a safepoint (`POLL_RUNTIME` of the collector), because one comparison tests for both.
    pub fn counter(iterations: u32) -> i32 {
        (iterations.clamp(1, 1 << 28) - 1) as i32
    }
}

/// In place of an IL offset: the call of a replacement from its Tier-0 frame, which stack traces do not show.
pub const OSR_CALL: u32 = u32::MAX - 1;
