//! Arithmetic on constants, as generated code does it (ECMA-335 III.3).
//!
//! I32 constants are sign-extended to `i64`.

use crate::ir::{BinOp, Cond, ConvOp, Ty, UnOp};

fn fit(ty: Ty, n: i64) -> i64 {
    if ty == Ty::I32 { i64::from(n as i32) } else { n }
}

/// Integer arithmetic; `None` for what would raise, and for floats.
pub(super) fn bin(op: BinOp, ty: Ty, a: i64, b: i64) -> Option<i64> {
    let wide = match ty {
        Ty::I32 => false,
        Ty::I64 => true,
        _ => return None,
    };
    let unsigned = |n: i64| if wide { n as u64 } else { u64::from(n as u32) };
    let amount = (b as u32) & if wide { 63 } else { 31 };
    let n = match op {
        BinOp::Add => a.wrapping_add(b),
        BinOp::Sub => a.wrapping_sub(b),
        BinOp::Mul => a.wrapping_mul(b),
        BinOp::And => a & b,
        BinOp::Or => a | b,
        BinOp::Xor => a ^ b,
        BinOp::Shl => a.wrapping_shl(amount),
        BinOp::Shr => a.wrapping_shr(amount),
        BinOp::ShrUn => unsigned(a).wrapping_shr(amount) as i64,
        BinOp::Div | BinOp::Rem => {
            let min = if wide { i64::MIN } else { i64::from(i32::MIN) };
            if b == 0 || (a == min && b == -1) {
                return None;
            }
            if op == BinOp::Div { a / b } else { a % b }
        }
        BinOp::DivUn => unsigned(a).checked_div(unsigned(b))? as i64,
        BinOp::RemUn => unsigned(a).checked_rem(unsigned(b))? as i64,
    };
    Some(fit(ty, n))
}

/// `neg` and `not` of integers.
pub(super) fn un(op: UnOp, ty: Ty, a: i64) -> Option<i64> {
    if !matches!(ty, Ty::I32 | Ty::I64) {
        return None;
    }
    Some(fit(
        ty,
        match op {
            UnOp::Neg => a.wrapping_neg(),
            UnOp::Not => !a,
        },
    ))
}

/// Conversions between integers.
pub(super) fn conv(op: ConvOp, a: i64) -> Option<i64> {
    Some(match op {
        ConvOp::Sext8 => i64::from(a as i8),
        ConvOp::Zext8 => i64::from(a as u8),
        ConvOp::Sext16 => i64::from(a as i16),
        ConvOp::Zext16 => i64::from(a as u16),
        ConvOp::Trunc => i64::from(a as i32),
        ConvOp::SextI64 => a,
        ConvOp::ZextI64 => i64::from(a as u32),
        _ => return None,
    })
}

/// Comparison of integers.
pub(super) fn cmp(cond: Cond, ty: Ty, a: i64, b: i64) -> Option<bool> {
    let (ua, ub) = match ty {
        Ty::I32 => (u64::from(a as u32), u64::from(b as u32)),
        Ty::I64 => (a as u64, b as u64),
        _ => return None,
    };
    Some(match cond {
        Cond::Eq => a == b,
        Cond::Ne => a != b,
        Cond::Lt => a < b,
        Cond::Le => a <= b,
        Cond::Gt => a > b,
        Cond::Ge => a >= b,
        Cond::LtUn => ua < ub,
        Cond::LeUn => ua <= ub,
        Cond::GtUn => ua > ub,
        Cond::GeUn => ua >= ub,
        Cond::Unordered => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_wrap_at_their_width() {
        assert_eq!(
            bin(BinOp::Add, Ty::I32, i64::from(i32::MAX), 1),
            Some(i64::from(i32::MIN))
        );
        assert_eq!(bin(BinOp::ShrUn, Ty::I32, -1, 28), Some(15));
        assert_eq!(bin(BinOp::Shl, Ty::I32, 1, 33), Some(2));
        assert_eq!(bin(BinOp::DivUn, Ty::I32, -1, 2), Some(0x7fff_ffff));
        assert_eq!(bin(BinOp::Div, Ty::I32, i64::from(i32::MIN), -1), None);
        assert_eq!(bin(BinOp::Rem, Ty::I64, 7, 0), None);
        assert_eq!(un(UnOp::Neg, Ty::I32, i64::from(i32::MIN)), Some(i64::from(i32::MIN)));
        assert_eq!(conv(ConvOp::ZextI64, -1), Some(0xffff_ffff));
        assert_eq!(cmp(Cond::LtUn, Ty::I32, -1, 1), Some(false));
        assert_eq!(cmp(Cond::Lt, Ty::I32, -1, 1), Some(true));
    }
}
