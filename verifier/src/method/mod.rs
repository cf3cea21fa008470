//! Verification of one method body (ECMA-335 III).
//!
//! The code is cut into basic blocks, which are walked depth first from the entry with the types of the values on the stack.
//! A finding inside a block is recorded and the block goes on; its stack is then not handed to its successors, which would
//! only repeat it. Some findings leave nothing to go on with and end the method. Blocks that nothing reaches are not
//! judged. A block is walked again if a path joins that changes what was assumed at its start.
//!
//! Reading order: [`decode`] and [`flow`] (blocks and the walk), [`regions`] (exception clauses), [`stack`] (values and
//! what can be assigned to what), then one file for each family of instructions, from [`execute`].

mod arrays;
mod calls;
mod decode;
mod delegates;
mod execute;
mod fields;
mod flow;
mod frame;
mod memory;
mod operators;
mod prefixes;
mod regions;
mod stack;
mod variables;

use std::cell::Cell;
use std::rc::Rc;

use corten_metadata::{MethodBody, TableId, Token, sig};

use rustc_hash::FxHashMap;

use crate::code::Code;
use crate::types::{Context, LoadFailure, MethodInfo, MethodRef, RowId, Ty, TypeSystem};
use crate::universe::{DefId, WellKnown};
use flow::Block;
use prefixes::Prefixes;
use regions::Region;
use stack::StackValue;

/// A finding before it knows the names of its method.
pub(crate) struct RawFinding {
    pub code: Code,
    pub offset: Option<u32>,
    pub message: String,
}

/// Why the walk over a method ended early.
enum Stop {
    /// After a finding that has been recorded.
    Reported,
    /// Because something does not load.
    Load(Box<LoadFailure>),
}

impl From<Box<LoadFailure>> for Stop {
    fn from(failure: Box<LoadFailure>) -> Stop {
        Stop::Load(failure)
    }
}

type Check<T = ()> = Result<T, Stop>;

/// Most values kept for the starts of the blocks of a method.
const MAX_KEPT_VALUES: usize = 4 << 20;
/// Most offsets looked at, over all branches of a method, in search of the clauses around their targets.
const MAX_SCANS: u64 = 1 << 28;
/// Most pairs of a block and an exception clause.
const MAX_PAIRS: u64 = 1 << 28;

/// The state of verifying one body.
struct MethodVerifier<'a, 'u> {
    types: &'a mut TypeSystem<'u>,
    context: Context,
    method: Rc<MethodInfo<'u>>,
    owner: DefId,
    /// The method's type with its own parameters as arguments.
    owner_ty: Ty,
    /// Type of argument 0 of an instance method.
    this_ty: Option<Ty>,
    params: Vec<Ty>,
    ret: Ty,
    locals: Vec<Ty>,
    /// By-ref-like locals that have held something that refers to the frame.
    frame_locals: Vec<bool>,
    code: &'a [u8],
    regions: Vec<Region>,
    init_locals: bool,
    max_stack: usize,
    /// Whether the method is a constructor of a class, where `this` starts uninitialised.
    tracks_this: bool,
    this_is_initialized: bool,
    /// Whether `this` is ever stored to or has its address taken.
    modifies_this: bool,

    blocks: Vec<Block>,
    /// Block that starts at an offset.
    block_at: Vec<Option<u32>>,
    /// Offsets that a branch may lead to: starts of instructions that no prefix belongs to.
    is_target: Vec<bool>,
    pending: Vec<u32>,
    current: Option<u32>,
    /// Instructions that may still be walked.
    fuel: u64,
    /// Values that may still be kept for the starts of blocks.
    room: usize,
    /// Offsets that may still be looked at in search of enclosing clauses.
    scans: Cell<u64>,

    stack: Vec<StackValue>,
    prefixes: Prefixes,
    constrained: Option<Ty>,
    /// Offset of the `ldftn` or `dup` that may start the creation of a delegate.
    delegate_start: Option<u32>,
    /// Functions that values on the stack point to.
    functions: Vec<MethodRef<'u>>,
    /// Their indices by token.
    function_of: FxHashMap<Token, u32>,
    /// Offset of the current instruction and of the next one.
    offset: u32,
    next: u32,
    findings: Vec<RawFinding>,
}

/// Verifies the method of a MethodDef row; a method without IL has no findings.
pub(crate) fn verify<'u>(types: &mut TypeSystem<'u>, id: RowId) -> Vec<RawFinding> {
    let universe = types.universe;
    let body = match universe.module(id.module).method_body(id.rid) {
        Ok(Some(body)) => body,
        Ok(None) => return Vec::new(),
        Err(corten_metadata::Error::Unsupported { .. }) => return Vec::new(),
        Err(error) => return vec![bad_body(&error)],
    };
    let mut verifier = match MethodVerifier::new(types, id, &body) {
        Ok(verifier) => verifier,
        Err(failure) => {
            return vec![RawFinding {
                code: failure.code,
                offset: None,
                message: failure.message,
            }];
        }
    };
    let result = verifier.run();
    if let Err(Stop::Load(failure)) = result {
        verifier.push_finding(failure.code, failure.message);
    }
    verifier.findings
}

fn bad_body(error: &corten_metadata::Error) -> RawFinding {
    let message = error.to_string();
    let code = if message.contains("code is empty") {
        Code::CodeSizeZero
    } else if ["protected block", "handler leaves", "filter does not"]
        .iter()
        .any(|s| message.contains(s))
    {
        Code::EHClauseOutOfRange
    } else {
        Code::BadImageFormatGeneric
    };
    RawFinding {
        code,
        offset: None,
        message,
    }
}

impl<'a, 'u> MethodVerifier<'a, 'u> {
    fn new(
        types: &'a mut TypeSystem<'u>,
        id: RowId,
        body: &'a MethodBody<'_>,
    ) -> Result<MethodVerifier<'a, 'u>, Box<LoadFailure>> {
        let method = types.method(id)?;
        let owner = method.owner;
        let owner_info = types.def(owner)?;
        let type_args: Rc<[Ty]> = types.own_args(&owner_info.params)?.into();
        let method_args: Rc<[Ty]> = types.own_args(&method.params)?.into();
        let context = Context {
            module: id.module,
            type_args,
            method_args,
        };
        let owner_ty = types.instance(owner, context.type_args.clone())?;
        let is_value_type = types.is_value_type(owner_ty)?;
        let this_ty = match (method.is_static(), is_value_type) {
            (true, _) => None,
            (false, true) => Some(types.by_ref(owner_ty)?),
            (false, false) => Some(owner_ty),
        };
        let sig = types.substitute_sig(&method.sig, &context.type_args, &context.method_args)?;
        let locals = read_locals(types, &context, body.local_var_sig)?;
        let len = body.code.len();
        Ok(MethodVerifier {
            tracks_this: !method.is_static() && method.is_constructor() && !is_value_type,
            frame_locals: vec![false; locals.len()],
            params: sig.params,
            ret: sig.ret,
            regions: body.clauses.iter().map(Region::new).collect(),
            init_locals: body.init_locals,
            max_stack: usize::from(body.max_stack),
            code: body.code,
            fuel: 64 * len as u64 + 10_000,
            room: MAX_KEPT_VALUES,
            scans: Cell::new(MAX_SCANS),
            types,
            context,
            method,
            owner,
            owner_ty,
            this_ty,
            locals,
            this_is_initialized: false,
            modifies_this: false,
            blocks: Vec::new(),
            block_at: vec![None; len],
            is_target: vec![false; len],
            pending: Vec::new(),
            current: None,
            stack: Vec::new(),
            prefixes: Prefixes::default(),
            constrained: None,
            delegate_start: None,
            functions: Vec::new(),
            function_of: FxHashMap::default(),
            offset: 0,
            next: 0,
            findings: Vec::new(),
        })
    }

    fn run(&mut self) -> Check {
        self.find_blocks()?;
        if self.blocks.len() as u64 * self.regions.len() as u64 > MAX_PAIRS {
            return self.give_up("there are too many exception clauses");
        }
        self.find_enclosing_regions();
        self.find_targets();
        self.walk()
    }

    fn known(&self, which: WellKnown) -> Ty {
        self.types.known(which)
    }

    /// Ends a method that is out of proportion.
    fn give_up(&mut self, why: &str) -> Check {
        self.push_finding(Code::InvalidProgramDefault, why.to_owned());
        Err(Stop::Reported)
    }

    // Findings.

    fn push_finding(&mut self, code: Code, message: String) {
        if let Some(current) = self.current {
            self.blocks[current as usize].errors += 1;
        }
        self.findings.push(RawFinding {
            code,
            offset: Some(self.offset),
            message,
        });
    }

    /// Records a finding.
    fn report(&mut self, code: Code) {
        self.push_finding(code, code.description().to_owned());
    }

    /// Records a finding unless the condition holds.
    fn expect(&mut self, holds: bool, code: Code) {
        if !holds {
            self.report(code);
        }
    }

    /// Records a finding and ends the method unless the condition holds.
    fn require(&mut self, holds: bool, code: Code) -> Check {
        if holds {
            return Ok(());
        }
        self.report(code);
        Err(Stop::Reported)
    }

    /// Records a finding about a value unless the condition holds.
    fn expect_found(&mut self, holds: bool, code: Code, found: StackValue) {
        if !holds {
            let message = format!("found {}, but {}", self.describe(found), code.description());
            self.push_finding(code, message);
        }
    }

    fn require_found(&mut self, holds: bool, code: Code, found: StackValue) -> Check {
        self.expect_found(holds, code, found);
        if holds { Ok(()) } else { Err(Stop::Reported) }
    }

    fn report_types(&mut self, code: Code, found: &str, expected: &str) {
        self.push_finding(code, format!("found {found} expected {expected}"));
    }

    fn report_mismatch(&mut self, code: Code, found: StackValue, expected: StackValue) {
        let (found, expected) = (self.describe(found), self.describe(expected));
        self.report_types(code, &found, &expected);
    }
}

fn read_locals(
    types: &mut TypeSystem<'_>,
    context: &Context,
    token: Option<Token>,
) -> Result<Vec<Ty>, Box<LoadFailure>> {
    let Some(token) = token.filter(|t| t.is(TableId::StandAloneSig)) else {
        return Ok(Vec::new());
    };
    let row = types.universe.module(context.module).stand_alone_sig(token.rid());
    let row = row.map_err(|e| LoadFailure::metadata(&e))?;
    let written = match sig::parse_locals(row.signature) {
        Ok(written) => written,
        Err(error) => {
            return LoadFailure::new(Code::BadImageFormatGeneric, format!("bad signature of locals: {error}"));
        }
    };
    let mut locals = Vec::with_capacity(written.len());
    for local in &written {
        let local = types.written_type(context.module, local)?;
        locals.push(types.substitute(local, &context.type_args, &context.method_args)?);
    }
    Ok(locals)
}
