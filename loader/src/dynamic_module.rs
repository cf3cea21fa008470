//! Modules that reflection emit builds: the metadata under construction and which of its types are finished.
//!
//! The loader sees a [`DynamicScope`] through snapshots ([`Module::commit`]). Tokens keep their meaning from one to the next.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock, atomic::Ordering};

use corten_metadata::{
    TableId, Token,
    writer::{Writer, compress},
};
use rustc_hash::FxHashSet;

use crate::{assembly::Assembly, error::Result, method_table::MethodTable, module::Module, type_def::TypeDefInfo};

/// Cells by row number that come into being as tables grow.
pub(crate) struct Cells<T> {
    first: Box<[T]>,
    /// Block `k` has 64 << k cells.
    more: [OnceLock<Box<[T]>>; 19],
}

impl<T: Default> Cells<T> {
    /// Cells for rows 0 to `rows`.
    pub(crate) fn new(rows: u32) -> Self {
        Self {
            first: (0..=rows).map(|_| T::default()).collect(),
            more: [const { OnceLock::new() }; 19],
        }
    }

    /// The cell of a row, whether or not the row exists; none beyond the largest row number.
    pub(crate) fn get(&self, at: usize) -> Option<&T> {
        if let Some(c) = self.first.get(at) {
            return Some(c);
        }
        let mut at = at - self.first.len();
        for (k, block) in self.more.iter().enumerate() {
            let size = 64 << k;
            if at < size {
                return block.get_or_init(|| (0..size).map(|_| T::default()).collect()).get(at);
            }
            at -= size;
        }
        None
    }
}

/// A module under construction.
#[derive(Default)]
pub struct DynamicScope {
    writer: Mutex<Writer>,
    created: RwLock<FxHashSet<u32>>,
}

impl DynamicScope {
    /// The metadata writer.
    pub fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Whether the type of a TypeDef row is finished.
    pub fn is_created(&self, rid: u32) -> bool {
        self.created
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&rid)
    }
}

impl Module {
    /// Lets reflection emit write into this module. `writer` must describe it as it is.
    pub fn make_dynamic(&self, writer: Writer) {
        let scope = DynamicScope {
            writer: Mutex::new(writer),
            ..DynamicScope::default()
        };
        let _ = self.emit.set(Box::leak(Box::new(scope)));
    }

    fn scope(&self) -> Result<&'static DynamicScope> {
        self.dynamic_scope()
            .ok_or_else(|| self.bad_image("not a dynamic module"))
    }

    /// Makes what has been written so far visible to readers.
    ///
    /// # Errors
    /// BadImageFormat.
    pub fn commit(&'static self) -> Result<()> {
        let snapshot = self
            .scope()?
            .writer()
            .snapshot(self.metadata().path())
            .map_err(|e| self.bad_image(e))?;
        self.replace_metadata(snapshot);
        Ok(())
    }

    /// Finishes a type: its definition is final now and can be loaded.
    ///
    /// # Errors
    /// BadImageFormat and any load error of the type.
    pub fn create_type(&'static self, rid: u32) -> Result<&'static MethodTable> {
        let scope = self.scope()?;
        self.commit()?;
        scope
            .created
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(rid);
        if rid == 1 {
            // The global type was there before its methods.
            if let Some(c) = self.typical.get(1) {
                c.store(0, Ordering::Release);
            }
        }
        self.typical_type(rid)
    }

    /// AssemblyRef token for an assembly, bound to it.
    pub fn reference_assembly(&'static self, to: &'static Assembly) -> Result<Token> {
        let mut w = self.scope()?.writer();
        let (a, b, c, d) = to.version();
        let key = to.public_key_token().map_or(0, |t| w.blob(&t));
        let (name, culture) = (w.string(to.simple_name()), w.string(to.culture()));
        // The hash column keeps references to assemblies of one name apart.
        let hash = w.blob(&to.context().to_le_bytes());
        let cells = [a.into(), b.into(), c.into(), d.into(), 0, key, name, culture, hash];
        let token = w.add_unique(TableId::AssemblyRef, &cells);
        if let Some(cell) = self.assembly_refs.get(token.rid() as usize) {
            let _ = cell.set(to);
        }
        Ok(token)
    }

    /// TypeDef or TypeRef token for a definition.
    pub fn reference_type(&'static self, def: &TypeDefInfo) -> Result<Token> {
        if def.module() == self {
            return Ok(def.token());
        }
        let scope = match (def.enclosing(), def.module().assembly()) {
            (Some(outer), _) => self.reference_type(outer)?,
            (None, Some(a)) => self.reference_assembly(a)?,
            (None, None) => return Err(self.bad_image("a module without assembly")),
        };
        let mut w = self.scope()?.writer();
        let (name, namespace) = (w.string(def.name()), w.string(def.namespace()));
        Ok(w.add_unique(TableId::TypeRef, &[Writer::scope_cell(scope), name, namespace]))
    }

    /// A signature of module `from` in terms of this one.
    ///
    /// # Errors
    /// Malformed signatures, types that cannot be found.
    pub fn import_signature(&'static self, from: &'static Module, blob: &[u8]) -> Result<Vec<u8>> {
        if from == self {
            return Ok(blob.to_vec());
        }
        let mut s = Importer {
            to: self,
            from,
            blob,
            at: 0,
            out: Vec::with_capacity(blob.len()),
        };
        s.signature()?;
        Ok(s.out)
    }
}

/// Copies a signature, replacing its tokens (ECMA-335 II.23.2).
struct Importer<'a> {
    to: &'static Module,
    from: &'static Module,
    blob: &'a [u8],
    at: usize,
    out: Vec<u8>,
}

impl Importer<'_> {
    fn byte(&mut self) -> Result<u8> {
        let b = *self
            .blob
            .get(self.at)
            .ok_or_else(|| self.from.bad_image("signature ends early"))?;
        self.at += 1;
        Ok(b)
    }
    fn copy(&mut self) -> Result<u8> {
        let b = self.byte()?;
        self.out.push(b);
        Ok(b)
    }
    fn read(&mut self) -> Result<u32> {
        let b = u32::from(self.byte()?);
        Ok(if b & 0x80 == 0 {
            b
        } else if b & 0x40 == 0 {
            (b & 0x3f) << 8 | u32::from(self.byte()?)
        } else {
            (b & 0x1f) << 24 | u32::from(self.byte()?) << 16 | u32::from(self.byte()?) << 8 | u32::from(self.byte()?)
        })
    }
    fn number(&mut self) -> Result<u32> {
        let v = self.read()?;
        compress(&mut self.out, v);
        Ok(v)
    }
    fn token(&mut self) -> Result<()> {
        let raw = self.read()?;
        let table = [TableId::TypeDef, TableId::TypeRef, TableId::TypeSpec][(raw as usize & 3).min(2)];
        let def = self.from.resolve_type_def(Token::new(table, raw >> 2))?;
        let token = self.to.reference_type(def)?;
        compress(&mut self.out, Writer::type_ref_cell(token));
        Ok(())
    }
    fn signature(&mut self) -> Result<()> {
        let head = self.copy()?;
        match head & 0x0f {
            6 => self.ty(0),
            7 | 10 => self.types(0),
            _ => self.method(head, 0),
        }
    }
    fn types(&mut self, extra: u32) -> Result<()> {
        let n = self.number()?.saturating_add(extra);
        (0..n).try_for_each(|_| self.ty(0))
    }
    fn method(&mut self, head: u8, depth: u32) -> Result<()> {
        if head & 0x10 != 0 {
            self.number()?;
        }
        let n = self.number()?;
        (0..=n).try_for_each(|_| self.ty(depth + 1))
    }
    fn ty(&mut self, depth: u32) -> Result<()> {
        if depth > 64 {
            return Err(self.from.bad_image("signature nests too deeply"));
        }
        loop {
            match self.copy()? {
                // Modifiers, sentinel, pinned, pointers, byrefs, one-dimensional arrays: a type follows.
                0x1f | 0x20 => self.token()?,
                0x0f | 0x10 | 0x1d | 0x41 | 0x45 => {}
                0x11 | 0x12 => return self.token(),
                0x13 | 0x1e => return self.number().map(drop),
                0x14 => {
                    self.ty(depth + 1)?;
                    self.number()?;
                    for _ in 0..2 {
                        let n = self.number()?;
                        (0..n).try_for_each(|_| self.number().map(drop))?;
                    }
                    return Ok(());
                }
                0x15 => {
                    self.ty(depth + 1)?;
                    let n = self.number()?;
                    return (0..n).try_for_each(|_| self.ty(depth + 1));
                }
                0x1b => {
                    let head = self.copy()?;
                    return self.method(head, depth);
                }
                _ => return Ok(()),
            }
        }
    }
}
