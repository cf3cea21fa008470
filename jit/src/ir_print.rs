//! Stable text form of IR, for `--dump-ir` and golden tests.

use crate::ir::*;
use std::fmt::{self, Display, Formatter, Write};

impl Display for Ty {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Ty::I32 => f.write_str("i32"),
            Ty::I64 => f.write_str("i64"),
            Ty::F32 => f.write_str("f32"),
            Ty::F64 => f.write_str("f64"),
            Ty::Ref => f.write_str("ref"),
            Ty::ByRef => f.write_str("byref"),
            Ty::V128 => f.write_str("v128"),
            Ty::Struct(t) => write!(f, "struct({:x})", t.0),
        }
    }
}

impl Display for MemTy {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MemTy::I8 => "i8",
            MemTy::U8 => "u8",
            MemTy::I16 => "i16",
            MemTy::U16 => "u16",
            MemTy::I32 => "i32",
            MemTy::I64 => "i64",
            MemTy::F32 => "f32",
            MemTy::F64 => "f64",
            MemTy::Ref => "ref",
            MemTy::ByRef => "byref",
            MemTy::V128 => "v128",
            MemTy::Struct(t) => return write!(f, "struct({:x})", t.0),
        })
    }
}

struct Flags(MemFlags);
impl Display for Flags {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0.volatile {
            f.write_str(" volatile")?;
        }
        if self.0.faults {
            f.write_str(" faults")?;
        }
        match self.0.unaligned {
            Some(n) => write!(f, " unaligned({n})"),
            None => Ok(()),
        }
    }
}

struct Bar(Barrier);
impl Display for Bar {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Barrier::None => "",
            Barrier::Heap => " barrier",
            Barrier::Checked => " checked_barrier",
        })
    }
}

struct List<'a, T>(&'a [T]);
impl<T: Display> Display for List<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (i, item) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{item}")?;
        }
        Ok(())
    }
}

fn lower(value: impl fmt::Debug) -> String {
    let mut out = String::new();
    for (i, c) in format!("{value:?}").chars().enumerate() {
        if c.is_ascii_uppercase() {
            if i > 0 && !out.ends_with(['_', '.']) {
                out.push('_');
            }
            out.push(c.to_ascii_lowercase());
        } else {
            out.push(c);
        }
    }
    out
}

impl Display for Op {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Op::IConst(n) => write!(f, "iconst {n}"),
            Op::FConst(bits) => write!(f, "fconst {bits:#x}"),
            Op::Null => f.write_str("null"),
            Op::Address(a) => write!(f, "address {a:#x}"),
            Op::LocalGet(l) => write!(f, "get {l}"),
            Op::LocalSet(l, v) => write!(f, "set {l}, {v}"),
            Op::LocalAddr(l) => write!(f, "local_addr {l}"),
            Op::Bin(op, a, b) => write!(f, "{} {a}, {b}", lower(op)),
            Op::BinOvf(op, a, b) => write!(f, "{}_ovf {a}, {b}", lower(op)),
            Op::DivCheck { signed, a, b } => {
                write!(f, "div_check{} {a}, {b}", if *signed { "" } else { "_un" })
            }
            Op::Un(op, a) => write!(f, "{} {a}", lower(op)),
            Op::Conv(op, a) => write!(f, "conv.{} {a}", lower(op)),
            Op::ConvOvf(c, a) => write!(
                f,
                "conv_ovf.{}{}{} {a}",
                if c.signed { 'i' } else { 'u' },
                c.bits,
                if c.from_unsigned { ".un" } else { "" }
            ),
            Op::Cmp(cond, a, b) => write!(f, "cmp.{} {a}, {b}", lower(cond)),
            Op::CkFinite(a) => write!(f, "ckfinite {a}"),
            Op::Select {
                cond,
                if_true,
                if_false,
            } => write!(f, "select {cond}, {if_true}, {if_false}"),
            Op::Load {
                ty,
                addr,
                offset,
                flags,
            } => write!(f, "load.{ty} [{addr}+{offset}]{}", Flags(*flags)),
            Op::Store {
                ty,
                addr,
                offset,
                value,
                barrier,
                flags,
            } => {
                write!(
                    f,
                    "store.{ty} [{addr}+{offset}], {value}{}{}",
                    Bar(*barrier),
                    Flags(*flags)
                )
            }
            Op::CopyStruct { ty, dst, src, barrier } => {
                write!(f, "copy_struct({:x}) [{dst}], [{src}]{}", ty.0, Bar(*barrier))
            }
            Op::ZeroStruct { ty, dst } => write!(f, "zero_struct({:x}) [{dst}]", ty.0),
            Op::StructZero(ty) => write!(f, "struct_zero({:x})", ty.0),
            Op::StructField { value, offset, ty } => write!(f, "struct_field.{ty} {value}+{offset}"),
            Op::StructMake { ty, parts } => {
                write!(f, "struct_make({:x}) {{", ty.0)?;
                for (i, (offset, ty, value)) in parts.iter().enumerate() {
                    write!(f, "{}{offset}: {ty} {value}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str("}")
            }
            Op::StructAddr(v) => write!(f, "struct_addr {v}"),
            Op::CopyBlock { dst, src, bytes, flags } => {
                write!(f, "copy_block [{dst}], [{src}], {bytes}{}", Flags(*flags))
            }
            Op::InitBlock {
                dst,
                byte,
                bytes,
                flags,
            } => {
                write!(f, "init_block [{dst}], {byte}, {bytes}{}", Flags(*flags))
            }
            Op::NullCheck(v) => write!(f, "null_check {v}"),
            Op::BoundsCheck { index, length } => write!(f, "bounds_check {index}, {length}"),
            Op::ArrayLen(v) => write!(f, "array_len {v}"),
            Op::ElemAddr { array, index, size } => write!(f, "elem_addr {array}, {index}, {size}"),
            Op::PtrAdd(a, b) => write!(f, "ptr_add {a}, {b}"),
            Op::CallHelper { helper, args } => write!(f, "helper {}({})", lower(helper), List(args)),
            Op::Call {
                callee,
                sig,
                args,
                tail,
            } => {
                f.write_str(if *tail { "tail_call " } else { "call " })?;
                match callee {
                    Callee::Direct { method, .. } => write!(f, "{method:?}")?,
                    Callee::Getter { method, .. } => write!(f, "getter {method:?}")?,
                    Callee::Vtable { method, offset } => write!(f, "vtable[{offset}] {method:?}")?,
                    Callee::Interface { method } => write!(f, "interface {method:?}")?,
                    Callee::Pointer { target } => write!(f, "pointer {target}")?,
                    Callee::Native { target } => write!(f, "native {target}")?,
                    Callee::DelegateInvoke => f.write_str("delegate")?,
                }
                write!(f, "({})", List(args))?;
                if sig.has_this && !matches!(callee, Callee::DelegateInvoke) {
                    f.write_str(" this")?;
                }
                Ok(())
            }
            Op::ClassInit { ty, flag_address } => write!(f, "class_init({:x}) flag {flag_address:#x}", ty.0),
            Op::LocAlloc { bytes, zero } => write!(f, "localloc{} {bytes}", if *zero { "_zero" } else { "" }),
            Op::Vector { op, lane, args } => {
                write!(f, "vector.{lane:?}.{op:?}")?;
                if args.is_empty() {
                    Ok(())
                } else {
                    write!(f, " {}", List(args))
                }
            }
            Op::X86 { op, args } => write!(f, "x86.{op:?} {}", List(args)),
            Op::Intrinsic { op, args } => write!(f, "intrinsic.{} {}", lower(op), List(args)),
            Op::AtomicRmw { op, ty, addr, value } => write!(f, "atomic_{}.{ty} [{addr}], {value}", lower(op)),
            Op::AtomicCas {
                ty,
                addr,
                expected,
                value,
            } => {
                write!(f, "atomic_cas.{ty} [{addr}], {expected}, {value}")
            }
            Op::Scratch { bytes } => write!(f, "scratch {bytes}"),
            Op::CurrentThread => f.write_str("current_thread"),
            Op::SafepointPoll => f.write_str("safepoint_poll"),
            Op::CountBlock { cell } => write!(f, "count_block {cell:#x}"),
            Op::Patchpoint { il } => write!(f, "patchpoint IL_{il:04x}"),
            Op::FrameBase => f.write_str("frame_base"),
        }
    }
}

impl Display for Term {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Term::Jump(b) => write!(f, "jump {b}"),
            Term::Branch { cond, then, other } => write!(f, "branch {cond}, {then}, {other}"),
            Term::Switch {
                index,
                targets,
                default,
            } => {
                write!(f, "switch {index}, [{}], {default}", List(targets))
            }
            Term::Return(Some(v)) => write!(f, "return {v}"),
            Term::Return(None) => f.write_str("return"),
            Term::Unreachable => f.write_str("unreachable"),
        }
    }
}

fn print_into(out: &mut String, func: &Func, indent: &str) -> fmt::Result {
    writeln!(out, "{indent}func {} {{", func.name)?;
    if let Some(n) = func.parent_locals {
        writeln!(out, "{indent}  parent_locals {n}")?;
    }
    for (local, data) in &func.locals {
        let role = if local.as_u32() < func.arg_count as u32 {
            " arg"
        } else {
            ""
        };
        writeln!(
            out,
            "{indent}  {local}: {} type {:x}{role}{}{}",
            data.ty,
            data.type_id.0,
            if data.pinned { " pinned" } else { "" },
            if data.zero_init { " zero" } else { "" },
        )?;
    }
    for (protect, clauses) in &func.protects {
        if protect.as_u32() > 0 {
            writeln!(out, "{indent}  {protect} = [{}]", List(clauses))?;
        }
    }
    for (id, clause) in &func.clauses {
        write!(out, "{indent}  {id}: ")?;
        match clause.kind {
            ClauseKind::Catch(ty) => write!(out, "catch({:x})", ty.0)?,
            ClauseKind::Filter(n) => write!(out, "filter #{n}")?,
            ClauseKind::Finally => out.push_str("finally"),
            ClauseKind::Fault => out.push_str("fault"),
        }
        write!(out, " {} exception {}", clause.handler, clause.exception_local)?;
        if let Some(local) = clause.record_local {
            write!(out, " record {local}")?;
        }
        if let Some(local) = clause.selector_local {
            write!(out, " selector {local}")?;
        }
        let (t, h) = (clause.try_range, clause.handler_range);
        writeln!(out, " try {:x}..{:x} handler {:x}..{:x}", t.0, t.1, h.0, h.1)?;
    }
    for (block, data) in &func.blocks {
        write!(out, "{indent}{block}")?;
        if data.protect.as_u32() > 0 {
            write!(out, " {}", data.protect)?;
        }
        if data.cold {
            out.push_str(" cold");
        }
        if block == func.entry {
            out.push_str(" entry");
        }
        if let Some(weight) = data.weight {
            write!(out, " weight {weight}")?;
        }
        out.push_str(":\n");
        for inst in &data.insts {
            out.push_str(indent);
            match inst.result {
                Some(v) => write!(out, "  {v}: {} = {}", func.values[v], inst.op)?,
                None => write!(out, "  {}", inst.op)?,
            }
            if inst.il != NO_IL {
                write!(out, "  ; IL_{:04x}", inst.il)?;
            }
            out.push('\n');
        }
        writeln!(out, "{indent}  {}", data.term)?;
    }
    for (i, filter) in func.filters.iter().enumerate() {
        writeln!(out, "{indent}  filter #{i}:")?;
        print_into(out, filter, &format!("{indent}    "))?;
    }
    writeln!(out, "{indent}}}")
}

/// The whole function as text. The form is stable: golden tests compare it.
pub fn print(func: &Func) -> String {
    let mut out = String::new();
    // Formatting into a String cannot fail.
    let _ = print_into(&mut out, func, "");
    out
}
