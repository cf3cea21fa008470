//! Which IL an instruction comes from. Every compiled method keeps such a map, and hardly any is ever looked at: those of methods
//! without inlined calls, which are the many of Tier 0, take a third of the space.

use crate::code_map::IlRange;

/// Ranges of instructions with the same source, by start offset.
#[derive(Clone, Debug)]
pub enum IlMap {
    /// Start and IL offset (negative special values become those of 16 bits), all in the method's own IL.
    Short(Box<[(u16, u16)]>),
    /// Anything.
    Long(Box<[IlRange]>),
}

impl Default for IlMap {
    fn default() -> Self {
        IlMap::Short(Box::new([]))
    }
}

/// Least special IL offset: [`NO_IL`](crate::ir::NO_IL) and its like are above it.
const SPECIAL: u32 = 0xffff_fff0;
/// The same of 16 bits.
const SHORT_SPECIAL: u16 = 0xfff0;

fn shortened(r: &IlRange) -> Option<(u16, u16)> {
    let il = if r.il >= SPECIAL {
        r.il as u16
    } else {
        u16::try_from(r.il).ok().filter(|il| *il < SHORT_SPECIAL)?
    };
    let start = u16::try_from(r.start).ok()?;
    (r.site == 0).then_some((start, il))
}

fn lengthened((start, il): (u16, u16)) -> IlRange {
    let start = u32::from(start);
    let il = if il >= SHORT_SPECIAL {
        u32::from(il) | 0xffff_0000
    } else {
        u32::from(il)
    };
    IlRange { start, il, site: 0 }
}

impl IlMap {
    /// Packs ranges whose starts ascend.
    pub fn new(ranges: &[IlRange]) -> IlMap {
        match ranges.iter().map(shortened).collect() {
            Some(short) => IlMap::Short(short),
            None => IlMap::Long(ranges.into()),
        }
    }

    /// The range that code offset `offset` is in.
    pub fn find(&self, offset: u32) -> Option<IlRange> {
        match self {
            IlMap::Short(ranges) => {
                let i = ranges.partition_point(|r| u32::from(r.0) <= offset);
                ranges.get(i.checked_sub(1)?).copied().map(lengthened)
            }
            IlMap::Long(ranges) => {
                let i = ranges.partition_point(|r| r.start <= offset);
                ranges.get(i.checked_sub(1)?).copied()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{NO_IL, OSR_CALL};

    fn range(start: u32, il: u32, site: u32) -> IlRange {
        IlRange { start, il, site }
    }

    fn check(ranges: &[IlRange], short: bool) {
        let map = IlMap::new(ranges);
        assert_eq!(matches!(map, IlMap::Short(_)), short);
        assert_eq!(map.find(0), (ranges[0].start == 0).then_some(ranges[0]));
        for (i, r) in ranges.iter().enumerate() {
            let last = ranges.get(i + 1).map_or(r.start + 7, |n| n.start - 1);
            assert_eq!(map.find(r.start), Some(*r));
            assert_eq!(map.find(last), Some(*r));
        }
    }

    #[test]
    fn what_goes_in_comes_out() {
        let plain = [
            range(0, NO_IL, 0),
            range(3, 0, 0),
            range(70, 0xffef, 0),
            range(90, OSR_CALL, 0),
            range(0xffff, 12, 0),
        ];
        check(&plain, true);
        check(&plain[1..], true);
        for other in [range(0x1_0000, 1, 0), range(0xffff, 0xfff0, 0), range(0xffff, 3, 1)] {
            let mut ranges = plain;
            ranges[4] = other;
            check(&ranges, false);
        }
        assert_eq!(IlMap::default().find(3), None);
    }
}
