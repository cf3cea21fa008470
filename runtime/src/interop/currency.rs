//! `decimal` as OLE currency: a signed 64-bit integer of ten-thousandths.

use super::convert::Place;
use crate::error::{ExceptionKind, Raise, VmResult};

/// Digits after the point.
const SCALE: u32 = 4;
/// Sign bit and scale of `System.Decimal`'s flags word.
const SIGN: u32 = 0x8000_0000;
const SCALE_SHIFT: u32 = 16;

/// `System.Decimal`: flags, then bits 64 to 95, then the low 64 bits.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    flags: u32,
    high: u32,
    low: u64,
}

/// The currency nearest to a decimal; halves go to the even neighbour.
///
/// # Errors
/// OverflowException beyond 64 bits.
pub fn from_decimal(place: Place) -> VmResult<i64> {
    convert(place.read()).ok_or_else(|| {
        Raise::new(
            ExceptionKind::Overflow,
            "Value was either too large or too small for a Currency.",
        )
    })
}

fn convert(d: Decimal) -> Option<i64> {
    let magnitude = u128::from(d.high) << 64 | u128::from(d.low);
    let scale = d.flags >> SCALE_SHIFT & 0xFF;
    let magnitude = if scale <= SCALE {
        // At most 96 + 14 bits.
        magnitude * 10u128.pow(SCALE - scale)
    } else {
        let unit = 10u128.checked_pow(scale - SCALE)?;
        let (quotient, rest) = (magnitude / unit, magnitude % unit);
        let up = rest * 2 > unit || (rest * 2 == unit && quotient & 1 == 1);
        quotient + u128::from(up)
    };
    let value = i128::try_from(magnitude).ok()?;
    i64::try_from(if d.flags & SIGN != 0 { -value } else { value }).ok()
}

/// The decimal of a currency, with as few digits after the point as it needs (zero keeps four).
pub fn to_decimal(currency: i64) -> Decimal {
    let mut magnitude = currency.unsigned_abs();
    let mut scale = SCALE;
    while magnitude != 0 && scale != 0 && magnitude.is_multiple_of(10) {
        magnitude /= 10;
        scale -= 1;
    }
    Decimal {
        flags: scale << SCALE_SHIFT | if currency < 0 { SIGN } else { 0 },
        high: 0,
        low: magnitude,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(value: i128, scale: u32) -> Decimal {
        let magnitude = value.unsigned_abs();
        Decimal {
            flags: scale << SCALE_SHIFT | if value < 0 { SIGN } else { 0 },
            high: (magnitude >> 64) as u32,
            low: magnitude as u64,
        }
    }

    #[test]
    fn rounds_to_even_and_rejects_what_does_not_fit() {
        assert_eq!(convert(decimal(123_456, 4)), Some(123_456));
        assert_eq!(convert(decimal(-5, 5)), Some(0));
        assert_eq!(convert(decimal(-15, 5)), Some(-2));
        assert_eq!(convert(decimal(100_015, 5)), Some(10_002));
        assert_eq!(convert(decimal(2, 0)), Some(20_000));
        assert_eq!(convert(decimal(100_000_000_000_000_000_000, 0)), None);
        assert_eq!(convert(decimal(i128::from(i64::MIN), 4)), Some(i64::MIN));
        assert_eq!(convert(decimal(i128::from(i64::MAX) + 1, 4)), None);
    }

    #[test]
    fn comes_back_with_few_digits() {
        assert_eq!(to_decimal(12_500), decimal(125, 2));
        assert_eq!(to_decimal(-30_000), decimal(-3, 0));
        assert_eq!(to_decimal(0), decimal(0, 4));
    }
}
