//! The two tables of the native format: sparse arrays and hash tables (`vm/nativeformatreader.h`).

use crate::error::{Fault, Result};
use crate::reader::Reader;

/// Elements of a block of a sparse array.
const BLOCK: u32 = 16;

fn index_at(mut table: Reader<'_>, size: u8, index: u32) -> Result<usize> {
    table = table.to(table.offset().saturating_add((index as usize) << size));
    Ok(match size {
        0 => table.u8()?.into(),
        1 => table.u16()?.into(),
        _ => table.u32()? as usize,
    })
}

/// A sparse array. Each block of 16 elements is a binary tree of offsets.
#[derive(Clone, Copy, Debug)]
pub struct SparseArray<'a> {
    /// At the block index.
    base: Reader<'a>,
    count: u32,
    /// Logarithm of the bytes of an entry of the block index.
    entry_size: u8,
}

impl<'a> SparseArray<'a> {
    /// The array at the cursor of `reader`.
    ///
    /// # Errors
    /// There is no header.
    pub fn new(mut reader: Reader<'a>) -> Result<Self> {
        let header = reader.unsigned()?;
        Ok(Self {
            base: reader,
            count: header >> 2,
            entry_size: (header & 3) as u8,
        })
    }

    /// One more than the highest index.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// A cursor at the element, if there is one.
    ///
    /// # Errors
    /// The tree leads out of the range.
    pub fn get(&self, index: u32) -> Result<Option<Reader<'a>>> {
        if index >= self.count {
            return Ok(None);
        }
        let start = index_at(self.base, self.entry_size, index / BLOCK)?;
        let mut node = self.base.to(self.base.offset().saturating_add(start));
        let mut bit = BLOCK / 2;
        while bit != 0 {
            let mut next = node;
            let value = next.unsigned()?;
            let (has_left, has_right) = (value & 1 != 0, value & 2 != 0);
            if index & bit != 0 && has_right {
                node = node.to(node.offset().saturating_add((value >> 2) as usize));
            } else if index & bit == 0 && has_left {
                node = next;
            } else if value & 3 == 0 && value >> 2 == index % BLOCK {
                // The only element of this subtree.
                return Ok(Some(next));
            } else {
                return Ok(None);
            }
            bit /= 2;
        }
        Ok(Some(node))
    }
}

/// A hash table. An entry has the low byte of its hash code and the offset of its contents.
#[derive(Clone, Copy, Debug)]
pub struct HashTable<'a> {
    /// At the bucket index.
    base: Reader<'a>,
    mask: u32,
    /// Logarithm of the bytes of an entry of the bucket index.
    entry_size: u8,
}

impl<'a> HashTable<'a> {
    /// The table at the cursor of `reader`.
    ///
    /// # Errors
    /// There is no header, or one with more buckets than there can be.
    pub fn new(mut reader: Reader<'a>) -> Result<Self> {
        let at = reader;
        let header = reader.u8()?;
        let (shift, entry_size) = (header >> 2, header & 3);
        if shift > 31 || entry_size > 2 {
            return Err(at.error(Fault::Value(header.into())));
        }
        Ok(Self {
            base: reader,
            mask: (1 << shift) - 1,
            entry_size,
        })
    }

    /// Entries whose hash code has the same bucket and the same low byte as `hash`.
    pub fn lookup(&self, hash: u32) -> Entries<'a> {
        let bucket = (hash >> 8) & self.mask;
        Entries {
            table: *self,
            next_bucket: bucket,
            last_bucket: bucket,
            at: None,
            low_byte: Some(hash as u8),
        }
    }

    /// All entries.
    pub fn entries(&self) -> Entries<'a> {
        Entries {
            table: *self,
            next_bucket: 0,
            last_bucket: self.mask,
            at: None,
            low_byte: None,
        }
    }

    fn bucket(&self, bucket: u32) -> Result<(Reader<'a>, usize)> {
        let start = index_at(self.base, self.entry_size, bucket)?;
        let end = index_at(self.base, self.entry_size, bucket + 1)?;
        let base = self.base.offset();
        Ok((self.base.to(base.saturating_add(start)), base.saturating_add(end)))
    }
}

/// Entries of a [`HashTable`]: (bucket, low byte of the hash code, cursor at the contents). Ends at the first error.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    table: HashTable<'a>,
    next_bucket: u32,
    last_bucket: u32,
    /// Cursor in the present bucket and the offset of its end.
    at: Option<(Reader<'a>, usize)>,
    low_byte: Option<u8>,
}

/// An entry of a [`HashTable`].
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Bits of the hash code from the eighth on, as many as the table tells apart.
    pub bucket: u32,
    /// Low byte of the hash code.
    pub low_byte: u8,
    /// The contents.
    pub contents: Reader<'a>,
}

impl<'a> Entries<'a> {
    fn step(&mut self) -> Result<Option<Entry<'a>>> {
        loop {
            match &mut self.at {
                Some((reader, end)) if reader.offset() < *end => {
                    let low_byte = reader.u8()?;
                    let from = *reader;
                    let distance = reader.signed()?;
                    let to = from.offset().checked_add_signed(distance as isize);
                    let contents = to.map(|to| from.to(to)).ok_or_else(|| from.error(Fault::End))?;
                    if self.low_byte.is_none_or(|wanted| wanted == low_byte) {
                        return Ok(Some(Entry {
                            bucket: self.next_bucket - 1,
                            low_byte,
                            contents,
                        }));
                    }
                }
                _ if self.next_bucket > self.last_bucket => return Ok(None),
                _ => {
                    self.at = Some(self.table.bucket(self.next_bucket)?);
                    self.next_bucket += 1;
                }
            }
        }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.step();
        if item.is_err() {
            self.at = None;
            self.next_bucket = u32::MAX;
            self.last_bucket = 0;
        }
        item.transpose()
    }
}
