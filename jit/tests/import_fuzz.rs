//! Random IL never panics the importer, and what it accepts obeys the IR's rules.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use corten_jit::importer::{ImportOptions, import};
use corten_jit::ir_check;
use corten_jit::testing::MockHost;
use corten_metadata::il::{Opcode, OperandKind};
use corten_metadata::{EhClause, EhKind, Token};

/// xorshift64*: deterministic, so that a failing seed can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n.max(1)
    }
}

/// Declarations; the code of `Fuzz` only makes the tokens that random code uses.
const WORLD: &str = "
.class IFoo interface
.class Shape : IFoo
.class Del sealed delegate
.struct Point 8 { int 0, int 4 }
.struct Mixed 16 { object 0, int 8 }
.struct System.Nullable`1<int> 8 { bool 0, int 4 } nullable int 4
.field Shape int x 8
.field Mixed object o 0
.static Shape object root 0x1000 init 0x2000
.threadstatic Shape int t 5
.method static int Shape::Static(int, long)
.method int Shape::Virt(byte) vtable 96
.method object IFoo::Do(object) interface
.method void Shape::.ctor(int)
.method void Point::.ctor(int,int)
.method int Point::Sum()
.method void Del::.ctor(object,nint) delegate_ctor
.method int Del::Invoke(int) delegate_invoke
.test Fuzz instance Shape int (int, long, object, int&, Mixed, double)
.locals init (int, Mixed, object, Point, float, nint)
  ldtoken type int
  ldtoken type Point
  ldtoken type Mixed
  ldtoken type Shape
  ldtoken type IFoo
  ldtoken type System.Nullable`1<int>
  ldtoken type string
  ldfld Shape::x
  ldfld Mixed::o
  ldfld Shape::root
  ldfld Shape::t
  call Shape::Static
  call Shape::Virt
  call IFoo::Do
  call Shape::.ctor
  call Point::.ctor
  call Point::Sum
  call Del::.ctor
  call Del::Invoke
  call int[,]::Get
  call int[,]::Set
  call int[,]::.ctor
  calli int (int)
  ldstr x
  call deferred:x
  ret
.end
";
const TYPES: std::ops::Range<u32> = 1..8;
const FIELDS: std::ops::Range<u32> = 8..12;
const METHODS: std::ops::Range<u32> = 12..23;
const SIGNATURE: u32 = 23;
const STRING: u32 = 24;
const DEFERRED: u32 = 25;

fn token(random: &mut Random, range: std::ops::Range<u32>) -> u32 {
    let n = match random.below(40) {
        0 => DEFERRED,
        1 => random.below(30) as u32,
        _ => range.start + random.below(range.len()) as u32,
    };
    Token(0x0a00_0000 | n).0
}

/// Random instructions; branch targets are instruction starts most of the time.
fn code(random: &mut Random) -> (Vec<u8>, Vec<u32>) {
    let mut code = Vec::new();
    let mut starts = Vec::new();
    let mut fixups: Vec<(usize, usize, usize)> = Vec::new();
    // Mostly pushes, so that the stack is not empty all the time.
    const PUSHES: [Opcode; 12] = [
        Opcode::Ldarg0,
        Opcode::Ldarg1,
        Opcode::Ldarg2,
        Opcode::Ldarg3,
        Opcode::Ldloc0,
        Opcode::Ldloc1,
        Opcode::Ldloc2,
        Opcode::Ldloc3,
        Opcode::LdcI4S,
        Opcode::LdcI8,
        Opcode::Ldnull,
        Opcode::Dup,
    ];
    for _ in 0..4 + random.below(30) {
        let op = if random.below(2) == 0 {
            PUSHES[random.below(PUSHES.len())]
        } else {
            Opcode::ALL[random.below(Opcode::ALL.len())]
        };
        starts.push(code.len() as u32);
        if op as u16 > 0xff {
            code.push(0xfe);
        }
        code.push(op as u16 as u8);
        match op.operand_kind() {
            OperandKind::None => {}
            OperandKind::ShortVar | OperandKind::ShortI => code.push(random.below(8) as u8),
            OperandKind::Var => code.extend((random.below(8) as u16).to_le_bytes()),
            OperandKind::I | OperandKind::ShortR => code.extend((random.next() as u32).to_le_bytes()),
            OperandKind::I8 | OperandKind::R => code.extend(random.next().to_le_bytes()),
            OperandKind::ShortBranch => {
                fixups.push((code.len(), 1, code.len() + 1));
                code.push(0);
            }
            OperandKind::Branch => {
                fixups.push((code.len(), 4, code.len() + 4));
                code.extend([0; 4]);
            }
            OperandKind::Switch => {
                code.extend(2u32.to_le_bytes());
                let base = code.len() + 8;
                fixups.push((code.len(), 4, base));
                fixups.push((code.len() + 4, 4, base));
                code.extend([0; 8]);
            }
            OperandKind::Method => code.extend(token(random, METHODS).to_le_bytes()),
            OperandKind::Field => code.extend(token(random, FIELDS).to_le_bytes()),
            OperandKind::Type | OperandKind::Tok => code.extend(token(random, TYPES).to_le_bytes()),
            OperandKind::Sig => code.extend(token(random, SIGNATURE..SIGNATURE + 1).to_le_bytes()),
            OperandKind::String => code.extend(token(random, STRING..STRING + 1).to_le_bytes()),
        }
    }
    starts.push(code.len() as u32);
    code.push(Opcode::Ret as u8);
    for (at, bytes, base) in fixups {
        let target = starts[random.below(starts.len())] as i32 + i32::from(random.below(60) == 0);
        code[at..at + bytes].copy_from_slice(&(target - base as i32).to_le_bytes()[..bytes]);
    }
    (code, starts)
}

fn clause(random: &mut Random, starts: &[u32]) -> EhClause {
    let mut cuts: Vec<u32> = (0..4).map(|_| starts[random.below(starts.len())]).collect();
    if random.below(20) != 0 {
        cuts.sort_unstable();
    }
    let kind = match random.below(4) {
        0 => EhKind::Catch(Token(token(random, TYPES))),
        1 => EhKind::Finally,
        2 => EhKind::Fault,
        _ => EhKind::Filter { filter_offset: cuts[1] },
    };
    let handler = if matches!(kind, EhKind::Filter { .. }) {
        cuts[2]
    } else {
        cuts[1]
    };
    EhClause {
        kind,
        try_offset: cuts[0],
        try_length: cuts[1].wrapping_sub(cuts[0]),
        handler_offset: handler,
        handler_length: cuts[3].wrapping_sub(handler),
    }
}

#[test]
fn random_il() {
    let mut host = MockHost::parse(WORLD).unwrap();
    let method = host.tests()[0];
    let mut accepted = 0;
    for seed in 1..80_000u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let (code, starts) = code(&mut random);
        let clauses = (0..random.below(3)).map(|_| clause(&mut random, &starts)).collect();
        host.replace_body(method, code, clauses);
        if let Ok(func) = import(&host, method, &ImportOptions::default()) {
            accepted += 1;
            ir_check::check(&func).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        }
    }
    assert!(accepted > 500, "the generator makes too little valid code: {accepted}");
}
