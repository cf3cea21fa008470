//! Single-instruction intrinsics.

use super::{LowerError, Lowerer, Result};
use crate::gc_check::Leaf;
use crate::ir::{Inst, IntrinsicOp, Value};
use cranelift_codegen::cursor::Cursor;
use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::{self, BlockArg, InstBuilder, types};

/// Target of [`IntrinsicOp::SpinWait`]: CLIF has no `pause`.
extern "C" fn spin_wait() {
    std::hint::spin_loop();
}

impl Lowerer<'_> {
    pub(super) fn lower_intrinsic(&mut self, inst: &Inst, op: IntrinsicOp, args: &[Value]) -> Result<()> {
        use IntrinsicOp as I;
        let arity = match op {
            I::SpinWait | I::Fence => 0,
            I::RotateLeft | I::RotateRight | I::CopySign | I::Min | I::Max | I::MulHighS | I::MulHighU => 2,
            I::Fma => 3,
            _ => 1,
        };
        if args.len() != arity {
            return Err(LowerError::Malformed(format!("{op:?} with {} operands", args.len())));
        }
        let mut x = Vec::with_capacity(arity);
        for &a in args {
            x.push(self.get(a)?);
        }
        if arity == 0 {
            if op == I::Fence {
                self.cur.ins().fence();
            } else {
                let sig = self.import_sig(ir::Signature::new(cranelift_codegen::isa::CallConv::SystemV));
                let target = self.extern_func(spin_wait as extern "C" fn() as usize as u64, sig);
                let call = self.cur.ins().call(target, &[]);
                self.note_leaf(call, Leaf::Always);
            }
            return Ok(());
        }
        let ty = self.type_of(x[0]);
        let float_op = matches!(
            op,
            I::Sqrt | I::Floor | I::Ceil | I::Trunc | I::RoundEven | I::CopySign | I::Fma | I::Min | I::Max
        );
        if op != I::Abs && ty.is_float() != float_op {
            return Err(LowerError::Malformed(format!("{op:?} of {ty}")));
        }
        let mut v = match op {
            I::PopCount => self.cur.ins().popcnt(x[0]),
            I::LeadingZeros => self.cur.ins().clz(x[0]),
            I::TrailingZeros => self.cur.ins().ctz(x[0]),
            I::ByteSwap16 => {
                let n = self.cur.ins().ireduce(types::I16, x[0]);
                let n = self.cur.ins().bswap(n);
                self.cur.ins().uextend(types::I32, n)
            }
            I::ByteSwap => self.cur.ins().bswap(x[0]),
            I::RotateLeft => self.cur.ins().rotl(x[0], x[1]),
            I::RotateRight => self.cur.ins().rotr(x[0], x[1]),
            I::Sqrt => self.cur.ins().sqrt(x[0]),
            I::Abs if ty.is_float() => self.cur.ins().fabs(x[0]),
            I::Abs => self.cur.ins().iabs(x[0]),
            I::Floor => self.cur.ins().floor(x[0]),
            I::Ceil => self.cur.ins().ceil(x[0]),
            I::Trunc => self.cur.ins().trunc(x[0]),
            I::RoundEven => self.cur.ins().nearest(x[0]),
            I::CopySign => self.cur.ins().fcopysign(x[0], x[1]),
            I::Fma => self.cur.ins().fma(x[0], x[1], x[2]),
            I::Min | I::Max => self.scalar_extreme(op == I::Max, x[0], x[1]),
            I::MulHighS => self.cur.ins().smulhi(x[0], x[1]),
            I::MulHighU => self.cur.ins().umulhi(x[0], x[1]),
            I::SpinWait | I::Fence => return Ok(()),
        };
        let result = self.result(inst)?;
        let wanted = Self::clif_type(self.func.values[result])?;
        let have = self.type_of(v);
        if have != wanted {
            v = match (have, wanted) {
                (types::I64, types::I32) => self.cur.ins().ireduce(types::I32, v),
                (types::I32, types::I64) => self.cur.ins().uextend(types::I64, v),
                _ => return Err(LowerError::Malformed(format!("{op:?} gives {have}, not {wanted}"))),
            };
        }
        self.set_plain(result, v);
        Ok(())
    }

    /// `Math.Min` or `Math.Max`. Vectors do the same with the same results.
    fn scalar_extreme(&mut self, greatest: bool, x: ir::Value, y: ir::Value) -> ir::Value {
        if !self.optimised {
            return self.exact_extreme(greatest, x, y);
        }
        // Numbers that are not equal are one instruction; a loop waits for nothing else.
        let (a, b) = if greatest { (y, x) } else { (x, y) };
        let first = self.cur.ins().fcmp(FloatCC::LessThan, a, b);
        let usual = self.cur.ins().select(first, x, y);
        let corner = self.cur.ins().fcmp(FloatCC::UnorderedOrEqual, x, y);
        let (rare, done) = (self.cold_block(), self.new_block());
        let ty = self.type_of(x);
        let result = self.cur.func.dfg.append_block_param(done, ty);
        self.cur.ins().brif(corner, rare, &[], done, &[BlockArg::Value(usual)]);
        self.cur.goto_bottom(rare);
        let exact = self.exact_extreme(greatest, x, y);
        self.cur.ins().jump(done, &[BlockArg::Value(exact)]);
        self.cur.goto_bottom(done);
        result
    }

    fn exact_extreme(&mut self, greatest: bool, x: ir::Value, y: ir::Value) -> ir::Value {
        let lanes = if self.type_of(x) == types::F32 {
            types::F32X4
        } else {
            types::F64X2
        };
        let x = self.cur.ins().scalar_to_vector(lanes, x);
        let y = self.cur.ins().scalar_to_vector(lanes, y);
        let v = self.float_extreme(greatest, x, y);
        self.cur.ins().extractlane(v, 0)
    }
}
