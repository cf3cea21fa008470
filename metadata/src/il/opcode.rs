//! The instruction set (ECMA-335 III), one line per instruction.

use StackItem::*;

/// How an instruction's operand is encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OperandKind {
    /// No operand.
    None,
    /// 1-byte index of an argument or local.
    ShortVar,
    /// 2-byte index of an argument or local.
    Var,
    /// 1-byte integer; signed for `ldc.i4.s` only.
    ShortI,
    /// 4-byte integer.
    I,
    /// 8-byte integer.
    I8,
    /// 4-byte float.
    ShortR,
    /// 8-byte float.
    R,
    /// 1-byte branch distance from the end of the instruction.
    ShortBranch,
    /// 4-byte branch distance from the end of the instruction.
    Branch,
    /// A count and that many 4-byte distances.
    Switch,
    /// Token of a method: MethodDef, MemberRef, MethodSpec.
    Method,
    /// Token of a field: Field, MemberRef.
    Field,
    /// Token of a type: TypeDef, TypeRef, TypeSpec.
    Type,
    /// Token of a type, method or field.
    Tok,
    /// Token of a StandAloneSig.
    Sig,
    /// Token of a user string.
    String,
}

/// How control leaves an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlowControl {
    /// To the next instruction.
    Next,
    /// To the target only.
    Branch,
    /// To a target or the next instruction.
    ConditionalBranch,
    /// Calls; then the next instruction (`jmp` does not come back).
    Call,
    /// Leaves the method, filter or finally block.
    Return,
    /// Throws.
    Throw,
    /// Debugger break; then the next instruction.
    Break,
    /// Modifies the next instruction.
    Prefix,
}

/// A stack item as the standard's stack behaviours name them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StackItem {
    /// Any type.
    Any,
    /// `int32` or a native integer.
    I,
    /// `int64`.
    I8,
    /// A 4-byte float.
    R4,
    /// An 8-byte float.
    R8,
    /// An object reference.
    Ref,
}

/// What an instruction takes from the stack and puts on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StackBehaviour {
    /// Items taken, the top one last; none if that depends on the operand or the method.
    pub pop: Option<&'static [StackItem]>,
    /// Items put, the top one last; none if that depends on the operand.
    pub push: Option<&'static [StackItem]>,
}

/// Marker in the table below: the number of items depends on the operand.
const VARIES: Option<&[StackItem]> = None;

macro_rules! behaviour {
    (VARIES) => {
        VARIES
    };
    (&$items:tt) => {
        Some(&$items)
    };
}

macro_rules! opcodes {
    ($($name:ident = $code:literal, $mnemonic:literal, $operand:ident, $flow:ident, [$($pop:tt)*], [$($push:tt)*];)*) => {
        /// An instruction, named after its mnemonic. One-byte instructions are their byte, two-byte ones 0xFE00 | byte.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u16)]
        pub enum Opcode {
            $(#[doc = concat!("`", $mnemonic, "`")] $name = $code,)*
        }

        impl Opcode {
            /// All instructions by code.
            pub const ALL: &'static [Opcode] = &[$(Opcode::$name),*];

            /// The instruction with this code (two-byte ones as 0xFExx).
            pub const fn from_u16(code: u16) -> Option<Opcode> {
                match code { $($code => Some(Opcode::$name),)* _ => None }
            }

            /// The mnemonic, such as `ldarg.0`.
            pub const fn mnemonic(self) -> &'static str {
                match self { $(Opcode::$name => $mnemonic),* }
            }

            /// How the operand is encoded.
            pub const fn operand_kind(self) -> OperandKind {
                match self { $(Opcode::$name => OperandKind::$operand),* }
            }

            /// How control leaves it.
            pub const fn flow(self) -> FlowControl {
                match self { $(Opcode::$name => FlowControl::$flow),* }
            }

            /// What it takes from the stack and puts on it.
            pub const fn stack_behaviour(self) -> StackBehaviour {
                match self {
                    $(Opcode::$name => StackBehaviour { pop: behaviour!($($pop)*), push: behaviour!($($push)*) }),*
                }
            }
        }
    };
}

opcodes! {
    Nop = 0x00, "nop", None, Next, [&[]], [&[]];
    Break = 0x01, "break", None, Break, [&[]], [&[]];
    Ldarg0 = 0x02, "ldarg.0", None, Next, [&[]], [&[Any]];
    Ldarg1 = 0x03, "ldarg.1", None, Next, [&[]], [&[Any]];
    Ldarg2 = 0x04, "ldarg.2", None, Next, [&[]], [&[Any]];
    Ldarg3 = 0x05, "ldarg.3", None, Next, [&[]], [&[Any]];
    Ldloc0 = 0x06, "ldloc.0", None, Next, [&[]], [&[Any]];
    Ldloc1 = 0x07, "ldloc.1", None, Next, [&[]], [&[Any]];
    Ldloc2 = 0x08, "ldloc.2", None, Next, [&[]], [&[Any]];
    Ldloc3 = 0x09, "ldloc.3", None, Next, [&[]], [&[Any]];
    Stloc0 = 0x0a, "stloc.0", None, Next, [&[Any]], [&[]];
    Stloc1 = 0x0b, "stloc.1", None, Next, [&[Any]], [&[]];
    Stloc2 = 0x0c, "stloc.2", None, Next, [&[Any]], [&[]];
    Stloc3 = 0x0d, "stloc.3", None, Next, [&[Any]], [&[]];
    LdargS = 0x0e, "ldarg.s", ShortVar, Next, [&[]], [&[Any]];
    LdargaS = 0x0f, "ldarga.s", ShortVar, Next, [&[]], [&[I]];
    StargS = 0x10, "starg.s", ShortVar, Next, [&[Any]], [&[]];
    LdlocS = 0x11, "ldloc.s", ShortVar, Next, [&[]], [&[Any]];
    LdlocaS = 0x12, "ldloca.s", ShortVar, Next, [&[]], [&[I]];
    StlocS = 0x13, "stloc.s", ShortVar, Next, [&[Any]], [&[]];
    Ldnull = 0x14, "ldnull", None, Next, [&[]], [&[Ref]];
    LdcI4M1 = 0x15, "ldc.i4.m1", None, Next, [&[]], [&[I]];
    LdcI40 = 0x16, "ldc.i4.0", None, Next, [&[]], [&[I]];
    LdcI41 = 0x17, "ldc.i4.1", None, Next, [&[]], [&[I]];
    LdcI42 = 0x18, "ldc.i4.2", None, Next, [&[]], [&[I]];
    LdcI43 = 0x19, "ldc.i4.3", None, Next, [&[]], [&[I]];
    LdcI44 = 0x1a, "ldc.i4.4", None, Next, [&[]], [&[I]];
    LdcI45 = 0x1b, "ldc.i4.5", None, Next, [&[]], [&[I]];
    LdcI46 = 0x1c, "ldc.i4.6", None, Next, [&[]], [&[I]];
    LdcI47 = 0x1d, "ldc.i4.7", None, Next, [&[]], [&[I]];
    LdcI48 = 0x1e, "ldc.i4.8", None, Next, [&[]], [&[I]];
    LdcI4S = 0x1f, "ldc.i4.s", ShortI, Next, [&[]], [&[I]];
    LdcI4 = 0x20, "ldc.i4", I, Next, [&[]], [&[I]];
    LdcI8 = 0x21, "ldc.i8", I8, Next, [&[]], [&[I8]];
    LdcR4 = 0x22, "ldc.r4", ShortR, Next, [&[]], [&[R4]];
    LdcR8 = 0x23, "ldc.r8", R, Next, [&[]], [&[R8]];
    Dup = 0x25, "dup", None, Next, [&[Any]], [&[Any, Any]];
    Pop = 0x26, "pop", None, Next, [&[Any]], [&[]];
    Jmp = 0x27, "jmp", Method, Call, [&[]], [&[]];
    Call = 0x28, "call", Method, Call, [VARIES], [VARIES];
    Calli = 0x29, "calli", Sig, Call, [VARIES], [VARIES];
    Ret = 0x2a, "ret", None, Return, [VARIES], [&[]];
    BrS = 0x2b, "br.s", ShortBranch, Branch, [&[]], [&[]];
    BrfalseS = 0x2c, "brfalse.s", ShortBranch, ConditionalBranch, [&[I]], [&[]];
    BrtrueS = 0x2d, "brtrue.s", ShortBranch, ConditionalBranch, [&[I]], [&[]];
    BeqS = 0x2e, "beq.s", ShortBranch, ConditionalBranch, [&[Any, Any]], [&[]];
    BgeS = 0x2f, "bge.s", ShortBranch, ConditionalBranch, [&[Any, Any]], [&[]];
    BgtS = 0x30, "bgt.s", ShortBranch, ConditionalBranch, [&[Any, Any]], [&[]];
    BleS = 0x31, "ble.s", ShortBranch, ConditionalBranch, [&[Any, Any]], [&[]];
    BltS = 0x32, "blt.s", ShortBranch, ConditionalBranch, [&[Any, Any]], [&[]];
    BneUnS = 0x33, "bne.un.s", ShortBranch, ConditionalBranch, [&[Any, Any]], [&[]];
    BgeUnS = 0x34, "bge.un.s", ShortBranch, ConditionalBranch, [&[Any, Any]], [&[]];
    BgtUnS = 0x35, "bgt.un.s", ShortBranch, ConditionalBranch, [&[Any, Any]], [&[]];
    BleUnS = 0x36, "ble.un.s", ShortBranch, ConditionalBranch, [&[Any, Any]], [&[]];
    BltUnS = 0x37, "blt.un.s", ShortBranch, ConditionalBranch, [&[Any, Any]], [&[]];
    Br = 0x38, "br", Branch, Branch, [&[]], [&[]];
    Brfalse = 0x39, "brfalse", Branch, ConditionalBranch, [&[I]], [&[]];
    Brtrue = 0x3a, "brtrue", Branch, ConditionalBranch, [&[I]], [&[]];
    Beq = 0x3b, "beq", Branch, ConditionalBranch, [&[Any, Any]], [&[]];
    Bge = 0x3c, "bge", Branch, ConditionalBranch, [&[Any, Any]], [&[]];
    Bgt = 0x3d, "bgt", Branch, ConditionalBranch, [&[Any, Any]], [&[]];
    Ble = 0x3e, "ble", Branch, ConditionalBranch, [&[Any, Any]], [&[]];
    Blt = 0x3f, "blt", Branch, ConditionalBranch, [&[Any, Any]], [&[]];
    BneUn = 0x40, "bne.un", Branch, ConditionalBranch, [&[Any, Any]], [&[]];
    BgeUn = 0x41, "bge.un", Branch, ConditionalBranch, [&[Any, Any]], [&[]];
    BgtUn = 0x42, "bgt.un", Branch, ConditionalBranch, [&[Any, Any]], [&[]];
    BleUn = 0x43, "ble.un", Branch, ConditionalBranch, [&[Any, Any]], [&[]];
    BltUn = 0x44, "blt.un", Branch, ConditionalBranch, [&[Any, Any]], [&[]];
    Switch = 0x45, "switch", Switch, ConditionalBranch, [&[I]], [&[]];
    LdindI1 = 0x46, "ldind.i1", None, Next, [&[I]], [&[I]];
    LdindU1 = 0x47, "ldind.u1", None, Next, [&[I]], [&[I]];
    LdindI2 = 0x48, "ldind.i2", None, Next, [&[I]], [&[I]];
    LdindU2 = 0x49, "ldind.u2", None, Next, [&[I]], [&[I]];
    LdindI4 = 0x4a, "ldind.i4", None, Next, [&[I]], [&[I]];
    LdindU4 = 0x4b, "ldind.u4", None, Next, [&[I]], [&[I]];
    LdindI8 = 0x4c, "ldind.i8", None, Next, [&[I]], [&[I8]];
    LdindI = 0x4d, "ldind.i", None, Next, [&[I]], [&[I]];
    LdindR4 = 0x4e, "ldind.r4", None, Next, [&[I]], [&[R4]];
    LdindR8 = 0x4f, "ldind.r8", None, Next, [&[I]], [&[R8]];
    LdindRef = 0x50, "ldind.ref", None, Next, [&[I]], [&[Ref]];
    StindRef = 0x51, "stind.ref", None, Next, [&[I, I]], [&[]];
    StindI1 = 0x52, "stind.i1", None, Next, [&[I, I]], [&[]];
    StindI2 = 0x53, "stind.i2", None, Next, [&[I, I]], [&[]];
    StindI4 = 0x54, "stind.i4", None, Next, [&[I, I]], [&[]];
    StindI8 = 0x55, "stind.i8", None, Next, [&[I, I8]], [&[]];
    StindR4 = 0x56, "stind.r4", None, Next, [&[I, R4]], [&[]];
    StindR8 = 0x57, "stind.r8", None, Next, [&[I, R8]], [&[]];
    Add = 0x58, "add", None, Next, [&[Any, Any]], [&[Any]];
    Sub = 0x59, "sub", None, Next, [&[Any, Any]], [&[Any]];
    Mul = 0x5a, "mul", None, Next, [&[Any, Any]], [&[Any]];
    Div = 0x5b, "div", None, Next, [&[Any, Any]], [&[Any]];
    DivUn = 0x5c, "div.un", None, Next, [&[Any, Any]], [&[Any]];
    Rem = 0x5d, "rem", None, Next, [&[Any, Any]], [&[Any]];
    RemUn = 0x5e, "rem.un", None, Next, [&[Any, Any]], [&[Any]];
    And = 0x5f, "and", None, Next, [&[Any, Any]], [&[Any]];
    Or = 0x60, "or", None, Next, [&[Any, Any]], [&[Any]];
    Xor = 0x61, "xor", None, Next, [&[Any, Any]], [&[Any]];
    Shl = 0x62, "shl", None, Next, [&[Any, Any]], [&[Any]];
    Shr = 0x63, "shr", None, Next, [&[Any, Any]], [&[Any]];
    ShrUn = 0x64, "shr.un", None, Next, [&[Any, Any]], [&[Any]];
    Neg = 0x65, "neg", None, Next, [&[Any]], [&[Any]];
    Not = 0x66, "not", None, Next, [&[Any]], [&[Any]];
    ConvI1 = 0x67, "conv.i1", None, Next, [&[Any]], [&[I]];
    ConvI2 = 0x68, "conv.i2", None, Next, [&[Any]], [&[I]];
    ConvI4 = 0x69, "conv.i4", None, Next, [&[Any]], [&[I]];
    ConvI8 = 0x6a, "conv.i8", None, Next, [&[Any]], [&[I8]];
    ConvR4 = 0x6b, "conv.r4", None, Next, [&[Any]], [&[R4]];
    ConvR8 = 0x6c, "conv.r8", None, Next, [&[Any]], [&[R8]];
    ConvU4 = 0x6d, "conv.u4", None, Next, [&[Any]], [&[I]];
    ConvU8 = 0x6e, "conv.u8", None, Next, [&[Any]], [&[I8]];
    Callvirt = 0x6f, "callvirt", Method, Call, [VARIES], [VARIES];
    Cpobj = 0x70, "cpobj", Type, Next, [&[I, I]], [&[]];
    Ldobj = 0x71, "ldobj", Type, Next, [&[I]], [&[Any]];
    Ldstr = 0x72, "ldstr", String, Next, [&[]], [&[Ref]];
    Newobj = 0x73, "newobj", Method, Call, [VARIES], [&[Ref]];
    Castclass = 0x74, "castclass", Type, Next, [&[Ref]], [&[Ref]];
    Isinst = 0x75, "isinst", Type, Next, [&[Ref]], [&[I]];
    ConvRUn = 0x76, "conv.r.un", None, Next, [&[Any]], [&[R8]];
    Unbox = 0x79, "unbox", Type, Next, [&[Ref]], [&[I]];
    Throw = 0x7a, "throw", None, Throw, [&[Ref]], [&[]];
    Ldfld = 0x7b, "ldfld", Field, Next, [&[Ref]], [&[Any]];
    Ldflda = 0x7c, "ldflda", Field, Next, [&[Ref]], [&[I]];
    Stfld = 0x7d, "stfld", Field, Next, [&[Ref, Any]], [&[]];
    Ldsfld = 0x7e, "ldsfld", Field, Next, [&[]], [&[Any]];
    Ldsflda = 0x7f, "ldsflda", Field, Next, [&[]], [&[I]];
    Stsfld = 0x80, "stsfld", Field, Next, [&[Any]], [&[]];
    Stobj = 0x81, "stobj", Type, Next, [&[I, Any]], [&[]];
    ConvOvfI1Un = 0x82, "conv.ovf.i1.un", None, Next, [&[Any]], [&[I]];
    ConvOvfI2Un = 0x83, "conv.ovf.i2.un", None, Next, [&[Any]], [&[I]];
    ConvOvfI4Un = 0x84, "conv.ovf.i4.un", None, Next, [&[Any]], [&[I]];
    ConvOvfI8Un = 0x85, "conv.ovf.i8.un", None, Next, [&[Any]], [&[I8]];
    ConvOvfU1Un = 0x86, "conv.ovf.u1.un", None, Next, [&[Any]], [&[I]];
    ConvOvfU2Un = 0x87, "conv.ovf.u2.un", None, Next, [&[Any]], [&[I]];
    ConvOvfU4Un = 0x88, "conv.ovf.u4.un", None, Next, [&[Any]], [&[I]];
    ConvOvfU8Un = 0x89, "conv.ovf.u8.un", None, Next, [&[Any]], [&[I8]];
    ConvOvfIUn = 0x8a, "conv.ovf.i.un", None, Next, [&[Any]], [&[I]];
    ConvOvfUUn = 0x8b, "conv.ovf.u.un", None, Next, [&[Any]], [&[I]];
    Box = 0x8c, "box", Type, Next, [&[Any]], [&[Ref]];
    Newarr = 0x8d, "newarr", Type, Next, [&[I]], [&[Ref]];
    Ldlen = 0x8e, "ldlen", None, Next, [&[Ref]], [&[I]];
    Ldelema = 0x8f, "ldelema", Type, Next, [&[Ref, I]], [&[I]];
    LdelemI1 = 0x90, "ldelem.i1", None, Next, [&[Ref, I]], [&[I]];
    LdelemU1 = 0x91, "ldelem.u1", None, Next, [&[Ref, I]], [&[I]];
    LdelemI2 = 0x92, "ldelem.i2", None, Next, [&[Ref, I]], [&[I]];
    LdelemU2 = 0x93, "ldelem.u2", None, Next, [&[Ref, I]], [&[I]];
    LdelemI4 = 0x94, "ldelem.i4", None, Next, [&[Ref, I]], [&[I]];
    LdelemU4 = 0x95, "ldelem.u4", None, Next, [&[Ref, I]], [&[I]];
    LdelemI8 = 0x96, "ldelem.i8", None, Next, [&[Ref, I]], [&[I8]];
    LdelemI = 0x97, "ldelem.i", None, Next, [&[Ref, I]], [&[I]];
    LdelemR4 = 0x98, "ldelem.r4", None, Next, [&[Ref, I]], [&[R4]];
    LdelemR8 = 0x99, "ldelem.r8", None, Next, [&[Ref, I]], [&[R8]];
    LdelemRef = 0x9a, "ldelem.ref", None, Next, [&[Ref, I]], [&[Ref]];
    StelemI = 0x9b, "stelem.i", None, Next, [&[Ref, I, I]], [&[]];
    StelemI1 = 0x9c, "stelem.i1", None, Next, [&[Ref, I, I]], [&[]];
    StelemI2 = 0x9d, "stelem.i2", None, Next, [&[Ref, I, I]], [&[]];
    StelemI4 = 0x9e, "stelem.i4", None, Next, [&[Ref, I, I]], [&[]];
    StelemI8 = 0x9f, "stelem.i8", None, Next, [&[Ref, I, I8]], [&[]];
    StelemR4 = 0xa0, "stelem.r4", None, Next, [&[Ref, I, R4]], [&[]];
    StelemR8 = 0xa1, "stelem.r8", None, Next, [&[Ref, I, R8]], [&[]];
    StelemRef = 0xa2, "stelem.ref", None, Next, [&[Ref, I, Ref]], [&[]];
    Ldelem = 0xa3, "ldelem", Type, Next, [&[Ref, I]], [&[Any]];
    Stelem = 0xa4, "stelem", Type, Next, [&[Ref, I, Any]], [&[]];
    UnboxAny = 0xa5, "unbox.any", Type, Next, [&[Ref]], [&[Any]];
    ConvOvfI1 = 0xb3, "conv.ovf.i1", None, Next, [&[Any]], [&[I]];
    ConvOvfU1 = 0xb4, "conv.ovf.u1", None, Next, [&[Any]], [&[I]];
    ConvOvfI2 = 0xb5, "conv.ovf.i2", None, Next, [&[Any]], [&[I]];
    ConvOvfU2 = 0xb6, "conv.ovf.u2", None, Next, [&[Any]], [&[I]];
    ConvOvfI4 = 0xb7, "conv.ovf.i4", None, Next, [&[Any]], [&[I]];
    ConvOvfU4 = 0xb8, "conv.ovf.u4", None, Next, [&[Any]], [&[I]];
    ConvOvfI8 = 0xb9, "conv.ovf.i8", None, Next, [&[Any]], [&[I8]];
    ConvOvfU8 = 0xba, "conv.ovf.u8", None, Next, [&[Any]], [&[I8]];
    Refanyval = 0xc2, "refanyval", Type, Next, [&[Any]], [&[I]];
    Ckfinite = 0xc3, "ckfinite", None, Next, [&[Any]], [&[R8]];
    Mkrefany = 0xc6, "mkrefany", Type, Next, [&[I]], [&[Any]];
    Ldtoken = 0xd0, "ldtoken", Tok, Next, [&[]], [&[I]];
    ConvU2 = 0xd1, "conv.u2", None, Next, [&[Any]], [&[I]];
    ConvU1 = 0xd2, "conv.u1", None, Next, [&[Any]], [&[I]];
    ConvI = 0xd3, "conv.i", None, Next, [&[Any]], [&[I]];
    ConvOvfI = 0xd4, "conv.ovf.i", None, Next, [&[Any]], [&[I]];
    ConvOvfU = 0xd5, "conv.ovf.u", None, Next, [&[Any]], [&[I]];
    AddOvf = 0xd6, "add.ovf", None, Next, [&[Any, Any]], [&[Any]];
    AddOvfUn = 0xd7, "add.ovf.un", None, Next, [&[Any, Any]], [&[Any]];
    MulOvf = 0xd8, "mul.ovf", None, Next, [&[Any, Any]], [&[Any]];
    MulOvfUn = 0xd9, "mul.ovf.un", None, Next, [&[Any, Any]], [&[Any]];
    SubOvf = 0xda, "sub.ovf", None, Next, [&[Any, Any]], [&[Any]];
    SubOvfUn = 0xdb, "sub.ovf.un", None, Next, [&[Any, Any]], [&[Any]];
    Endfinally = 0xdc, "endfinally", None, Return, [&[]], [&[]];
    Leave = 0xdd, "leave", Branch, Branch, [&[]], [&[]];
    LeaveS = 0xde, "leave.s", ShortBranch, Branch, [&[]], [&[]];
    StindI = 0xdf, "stind.i", None, Next, [&[I, I]], [&[]];
    ConvU = 0xe0, "conv.u", None, Next, [&[Any]], [&[I]];
    Arglist = 0xfe00, "arglist", None, Next, [&[]], [&[I]];
    Ceq = 0xfe01, "ceq", None, Next, [&[Any, Any]], [&[I]];
    Cgt = 0xfe02, "cgt", None, Next, [&[Any, Any]], [&[I]];
    CgtUn = 0xfe03, "cgt.un", None, Next, [&[Any, Any]], [&[I]];
    Clt = 0xfe04, "clt", None, Next, [&[Any, Any]], [&[I]];
    CltUn = 0xfe05, "clt.un", None, Next, [&[Any, Any]], [&[I]];
    Ldftn = 0xfe06, "ldftn", Method, Next, [&[]], [&[I]];
    Ldvirtftn = 0xfe07, "ldvirtftn", Method, Next, [&[Ref]], [&[I]];
    Ldarg = 0xfe09, "ldarg", Var, Next, [&[]], [&[Any]];
    Ldarga = 0xfe0a, "ldarga", Var, Next, [&[]], [&[I]];
    Starg = 0xfe0b, "starg", Var, Next, [&[Any]], [&[]];
    Ldloc = 0xfe0c, "ldloc", Var, Next, [&[]], [&[Any]];
    Ldloca = 0xfe0d, "ldloca", Var, Next, [&[]], [&[I]];
    Stloc = 0xfe0e, "stloc", Var, Next, [&[Any]], [&[]];
    Localloc = 0xfe0f, "localloc", None, Next, [&[I]], [&[I]];
    Endfilter = 0xfe11, "endfilter", None, Return, [&[I]], [&[]];
    Unaligned = 0xfe12, "unaligned.", ShortI, Prefix, [&[]], [&[]];
    Volatile = 0xfe13, "volatile.", None, Prefix, [&[]], [&[]];
    Tail = 0xfe14, "tail.", None, Prefix, [&[]], [&[]];
    Initobj = 0xfe15, "initobj", Type, Next, [&[I]], [&[]];
    Constrained = 0xfe16, "constrained.", Type, Prefix, [&[]], [&[]];
    Cpblk = 0xfe17, "cpblk", None, Next, [&[I, I, I]], [&[]];
    Initblk = 0xfe18, "initblk", None, Next, [&[I, I, I]], [&[]];
    No = 0xfe19, "no.", ShortI, Prefix, [&[]], [&[]];
    Rethrow = 0xfe1a, "rethrow", None, Throw, [&[]], [&[]];
    Sizeof = 0xfe1c, "sizeof", Type, Next, [&[]], [&[I]];
    Refanytype = 0xfe1d, "refanytype", None, Next, [&[Any]], [&[I]];
    Readonly = 0xfe1e, "readonly.", None, Prefix, [&[]], [&[]];
}

impl Opcode {
    /// Bytes of the opcode itself: 1 or 2.
    pub const fn encoded_len(self) -> u32 {
        if self as u16 > 0xff { 2 } else { 1 }
    }

    /// Whether this is a prefix of the next instruction.
    pub const fn is_prefix(self) -> bool {
        matches!(self.flow(), FlowControl::Prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip() {
        assert_eq!(Opcode::ALL.len(), 219);
        for op in Opcode::ALL {
            assert_eq!(Opcode::from_u16(*op as u16), Some(*op));
        }
        assert_eq!(Opcode::from_u16(0x24), None);
        assert_eq!(Opcode::LdcI4M1 as u16, 0x15);
        assert_eq!(Opcode::Readonly as u16, 0xfe1e);
        assert_eq!(Opcode::Constrained.mnemonic(), "constrained.");
        assert_eq!(Opcode::Beq.stack_behaviour().pop, Some(&[Any, Any][..]));
        assert_eq!(Opcode::Call.stack_behaviour().pop, None);
    }
}
