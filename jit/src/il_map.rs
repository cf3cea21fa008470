//! Which IL an instruction comes from, packed: every compiled method keeps such a map, and hardly any is ever looked at.
//!
//! One record per range, in order: distance of its start from that of the range before it; difference of the IL offsets (zigzag),
//! doubled, plus one if the site is another one; then the site. Numbers have seven bits a byte, the lowest first.

use crate::code_map::IlRange;

/// Ranges of instructions with the same source, by start offset.
#[derive(Clone, Debug, Default)]
pub struct IlMap(Box<[u8]>);

impl IlMap {
    /// Packs ranges whose starts ascend.
    pub fn new(ranges: &[IlRange]) -> IlMap {
        let mut bytes = Vec::with_capacity(ranges.len() * 3);
        let (mut start, mut il, mut site) = (0u32, 0u32, 0u32);
        for r in ranges {
            let moved = r.il.wrapping_sub(il) as i32;
            let zigzag = (moved << 1 ^ moved >> 31) as u32;
            write(&mut bytes, u64::from(r.start.wrapping_sub(start)));
            write(&mut bytes, u64::from(zigzag) << 1 | u64::from(r.site != site));
            if r.site != site {
                write(&mut bytes, u64::from(r.site));
            }
            (start, il, site) = (r.start, r.il, r.site);
        }
        IlMap(bytes.into())
    }

    /// All ranges.
    pub fn ranges(&self) -> impl Iterator<Item = IlRange> + '_ {
        let mut rest = &self.0[..];
        let mut last = IlRange {
            start: 0,
            il: 0,
            site: 0,
        };
        std::iter::from_fn(move || {
            let distance = read(&mut rest)?;
            let source = read(&mut rest)?;
            let zigzag = (source >> 1) as u32;
            let moved = (zigzag >> 1) ^ (zigzag & 1).wrapping_neg();
            last.start = last.start.wrapping_add(distance as u32);
            last.il = last.il.wrapping_add(moved);
            if source & 1 != 0 {
                last.site = read(&mut rest)? as u32;
            }
            Some(last)
        })
    }

    /// The range that code offset `offset` is in.
    pub fn find(&self, offset: u32) -> Option<IlRange> {
        self.ranges().take_while(|r| r.start <= offset).last()
    }
}

fn write(bytes: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
}

fn read(bytes: &mut &[u8]) -> Option<u64> {
    let mut n = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        n |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::NO_IL;

    #[test]
    fn what_goes_in_comes_out() {
        let mut seed = 1u32;
        let mut next = |below: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) % below
        };
        let mut ranges = Vec::new();
        let mut start = 0;
        for _ in 0..2000 {
            let il = match next(8) {
                0 => NO_IL,
                1 => NO_IL - 1,
                2 => next(0x00ff_ffff),
                _ => next(300),
            };
            let site = if next(5) == 0 { next(1000) } else { 0 };
            ranges.push(IlRange { start, il, site });
            start += 1 + next(if next(50) == 0 { 100_000 } else { 40 });
        }
        let map = IlMap::new(&ranges);
        let read: Vec<(u32, u32, u32)> = map.ranges().map(|r| (r.start, r.il, r.site)).collect();
        let written: Vec<(u32, u32, u32)> = ranges.iter().map(|r| (r.start, r.il, r.site)).collect();
        assert_eq!(read, written);
        for (i, r) in ranges.iter().enumerate() {
            let last = ranges.get(i + 1).map_or(r.start + 7, |n| n.start - 1);
            for offset in [r.start, last] {
                let found = map.find(offset).map(|f| (f.start, f.il, f.site));
                assert_eq!(found, Some((r.start, r.il, r.site)));
            }
        }
        assert!(IlMap::default().find(3).is_none());
        assert!(map.0.len() < ranges.len() * 6, "{} bytes", map.0.len());
    }
}
