//! The area: the stack slot of everything that is in memory.

use super::*;

impl Lowerer<'_> {
    pub(super) fn alloc_area(&mut self, bytes: u32) -> Result<u32> {
        let offset = self.area_size;
        self.area_size = offset.saturating_add(bytes.next_multiple_of(8));
        if self.area_size > MAX_AREA {
            return Err(LowerError::TooLarge("temporaries of the frame".into()));
        }
        Ok(offset)
    }

    pub(super) fn alloc_spill(&mut self, kind: GcKind) -> u32 {
        if let Some(offset) = self.free_spills[usize::from(kind == GcKind::ByRef)].pop() {
            return offset;
        }
        self.new_gc_slot(kind)
    }

    /// A slot that the collector looks at, zero from the start.
    pub(super) fn new_gc_slot(&mut self, kind: GcKind) -> u32 {
        let offset = self.area_size;
        self.area_size += 8;
        self.gc_slots.push(AreaSlot {
            offset,
            kind,
            pinned: false,
        });
        self.add_zero(offset, 8);
        offset
    }

    pub(super) fn add_zero(&mut self, offset: u32, bytes: u32) {
        match self.zero.last_mut() {
            Some((o, len)) if *o + *len == offset => *len += bytes,
            _ => self.zero.push((offset, bytes)),
        }
    }

    pub(super) fn area_addr(&mut self, offset: u32) -> ir::Value {
        self.cur.ins().stack_addr(types::I64, self.area, offset as i32)
    }

    pub(super) fn addr_value(&mut self, addr: Addr) -> ir::Value {
        match addr {
            Addr::Frame(o) => self.area_addr(o),
            Addr::Ptr(p, 0) => p,
            Addr::Ptr(p, o) => {
                let o = self.iconst(types::I64, i64::from(o));
                self.cur.ins().iadd(p, o)
            }
        }
    }

    pub(super) fn load(&mut self, ty: ir::Type, addr: Addr) -> ir::Value {
        let (p, o) = self.base(addr);
        self.load_at(ty, plain(), p, o)
    }

    /// `InstBuilder::load`, which would hash the flags of each access to find their name in the function.
    pub(super) fn load_at(&mut self, ty: ir::Type, flags: MemFlagsData, p: ir::Value, offset: i32) -> ir::Value {
        match self.flags_name(flags) {
            Some(name) => {
                let (inst, dfg) = self.cur.ins().Load(ir::Opcode::Load, ty, name, offset.into(), p);
                dfg.first_result(inst)
            }
            None => self.cur.ins().load(ty, flags, p, offset),
        }
    }

    /// `InstBuilder::store` in the same way.
    pub(super) fn store_at(&mut self, flags: MemFlagsData, v: ir::Value, p: ir::Value, offset: i32) {
        let stored = self.type_of(v);
        match self.flags_name(flags) {
            Some(name) => {
                self.cur
                    .ins()
                    .Store(ir::Opcode::Store, stored, name, offset.into(), v, p);
            }
            None => {
                self.cur.ins().store(flags, v, p, offset);
            }
        }
    }

    fn flags_name(&mut self, flags: MemFlagsData) -> Option<ir::MemFlags> {
        if let Some((_, name)) = self.access_flags.iter().find(|(known, _)| *known == flags) {
            return Some(*name);
        }
        let name = self.cur.func.dfg.mem_flags.insert(flags).ok()?;
        self.access_flags.push((flags, name));
        Some(name)
    }

    pub(super) fn store(&mut self, v: ir::Value, addr: Addr) {
        let (p, o) = self.base(addr);
        self.store_at(plain(), v, p, o);
    }

    pub(super) fn base(&mut self, addr: Addr) -> (ir::Value, i32) {
        match addr {
            Addr::Frame(o) => match self.base {
                Some(base) => (base, o as i32),
                None => (self.area_addr(o), 0),
            },
            Addr::Ptr(p, o) => (p, o),
        }
    }

    pub(super) fn local_addr(&mut self, local: mir::Local) -> Result<(Addr, TypeKind)> {
        let place = *self
            .layout
            .locals
            .get(local.index())
            .ok_or_else(|| LowerError::Malformed(format!("{local} does not exist")))?;
        let addr = match (place.in_parent, self.parent_base) {
            (false, _) => Addr::Frame(place.offset),
            (true, Some(base)) => Addr::Ptr(base, place.offset as i32),
            (true, None) => return Err(LowerError::Malformed("parent local outside of a filter".into())),
        };
        Ok((addr, place.kind))
    }
}
