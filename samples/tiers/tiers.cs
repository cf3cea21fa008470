// Generates random methods with reflection emit and runs each of them many times, so that it passes through the tiers of the
// engine; every run must give what the first gave. Prints a line per program; the lines do not depend on the engine.
//
// Arguments: [number of programs = 150] [first seed = 1] [runs of each = 40]
using System;
using System.Collections.Generic;
using System.Reflection;
using System.Reflection.Emit;

public struct Pair
{
    public int X; public long Y;
    public Pair(int x, long y) { X = x; Y = y; }
    public int Sum() => X + (int)Y;
    public Pair Swapped() => new Pair((int)Y, X);
    public static Pair operator +(Pair a, Pair b) => new Pair(a.X + b.X, a.Y ^ b.Y);
}

public interface IShape { int Area(int x); long Scale(long y) => y * 3 + Area(1); }

public class Node
{
    public int Value; public long Wide; public double Real; public Node Next; public Pair Inner;
    public virtual int Visit(int x) => x + Value;
    public virtual Node Find(int depth) => depth <= 0 || Next == null ? this : Next.Find(depth - 1);
}
public class Square : Node, IShape
{
    public override int Visit(int x) => x * 3 - Value;
    public int Area(int x) => x * x + Value;
}
public sealed class Circle : Node, IShape
{
    public override int Visit(int x) { if (x > 1000) throw new ArgumentException("big"); return x ^ Value; }
    public int Area(int x) => Value - x;
    public long Scale(long y) => y >> 1;
}

public static class Helpers
{
    public static int Counter; public static long Total; public static Node Root; public static int[] Shared;
    public static readonly int Fixed = Environment.TickCount >= int.MinValue ? 17 : 18;
    public static T Pick<T>(int which, T a, T b) => (which & 1) == 0 ? a : b;
    public static int Length<T>(Span<T> span) => span.Length;
    public static int Out(int x, out long y) { y = x * 7L; return x - 1; }
    public static void Bump(ref int x) { x++; Counter += x & 3; }
    public static object Box(int which, int x) => which switch { 0 => x, 1 => (long)x, 2 => new Pair(x, x), 3 => "text", 4 => null, _ => new Circle { Value = x } };
    public static int Fold(Exception e) => e.GetType().Name.Length * 31 + (e.HResult & 0xffff);
}

public delegate int Code(int a, long b, int[] array, Node node, object any);

sealed class Generator
{
    readonly ILGenerator il; ulong state; readonly MethodInfo[] callees; readonly bool leaf;
    readonly LocalBuilder[] ints = new LocalBuilder[4], longs = new LocalBuilder[2], doubles = new LocalBuilder[2], counters = new LocalBuilder[3], pairs = new LocalBuilder[2];
    LocalBuilder small, narrow, span, node, any, result;
    int loops, budget; Label? exit; int tries;

    public Generator(ILGenerator il, ulong seed, MethodInfo[] callees, bool leaf)
    {
        this.il = il; state = seed * 0x9e3779b97f4a7c15 ^ 0x5555; this.callees = callees; this.leaf = leaf; Below(2);
    }
    int Below(int n) { state = state * 6364136223846793005 + 1442695040888963407; return (int)((state >> 33) % (ulong)n); }
    bool OneIn(int n) => Below(n) == 0;
    static readonly int[] Constants = { 0, 1, -1, 2, 7, 31, 255, 65536, int.MaxValue, int.MinValue };

    void Array() => il.Emit(OpCodes.Ldarg_2);
    void Index(int depth)
    {
        Int(depth);
        // Most are in range.
        if (!OneIn(12)) { il.Emit(OpCodes.Ldc_I4_7); il.Emit(OpCodes.And); }
    }
    void Node(int depth)
    {
        switch (Below(depth == 0 ? 3 : 6))
        {
            case 0: il.Emit(OpCodes.Ldarg_3); break;
            case 1: case 2: il.Emit(OpCodes.Ldloc, node); break;
            case 3: Node(depth - 1); il.Emit(OpCodes.Ldfld, typeof(Node).GetField("Next")); break;
            case 4: Node(depth - 1); Int(0); il.Emit(OpCodes.Ldc_I4_3); il.Emit(OpCodes.And); il.Emit(OpCodes.Callvirt, typeof(Node).GetMethod("Find")); break;
            default: il.Emit(OpCodes.Ldloc, any); il.Emit(OneIn(2) ? OpCodes.Isinst : OpCodes.Castclass, OneIn(2) ? typeof(Node) : typeof(Circle)); break;
        }
    }
    void Pair(int depth)
    {
        switch (Below(depth == 0 ? 2 : 6))
        {
            case 0: case 1: il.Emit(OpCodes.Ldloc, pairs[Below(2)]); break;
            case 2: Int(depth - 1); Long(depth - 1); il.Emit(OpCodes.Newobj, typeof(Pair).GetConstructor(new[] { typeof(int), typeof(long) })); break;
            case 3: Pair(depth - 1); Pair(depth - 1); il.Emit(OpCodes.Call, typeof(Pair).GetMethod("op_Addition")); break;
            case 4: il.Emit(OpCodes.Ldloca, pairs[Below(2)]); il.Emit(OpCodes.Call, typeof(Pair).GetMethod("Swapped")); break;
            default: Node(depth - 1); il.Emit(OpCodes.Ldfld, typeof(Node).GetField("Inner")); break;
        }
    }
    void Int(int depth)
    {
        if (depth == 0)
        {
            switch (Below(8))
            {
                case 0: il.Emit(OpCodes.Ldc_I4, Constants[Below(Constants.Length)]); break;
                case 1: il.Emit(OpCodes.Ldarg_0); break;
                case 2: il.Emit(OpCodes.Ldloc, OneIn(2) ? small : narrow); break;
                case 3: il.Emit(OpCodes.Ldloc, counters[Below(3)]); break;
                case 4: il.Emit(OpCodes.Ldsfld, typeof(Helpers).GetField(OneIn(3) ? "Fixed" : "Counter")); break;
                default: il.Emit(OpCodes.Ldloc, ints[Below(4)]); break;
            }
            return;
        }
        switch (Below(24))
        {
            case 0: case 1: case 2: case 3:
                Int(depth - 1); Int(depth - 1);
                il.Emit(new[] { OpCodes.Add, OpCodes.Sub, OpCodes.Mul, OpCodes.And, OpCodes.Or, OpCodes.Xor }[Below(6)]); break;
            case 4: Int(depth - 1); Int(depth - 1); il.Emit(OpCodes.Ldc_I4, 31); il.Emit(OpCodes.And); il.Emit(new[] { OpCodes.Shl, OpCodes.Shr, OpCodes.Shr_Un }[Below(3)]); break;
            case 5: Int(depth - 1); Int(depth - 1); il.Emit(new[] { OpCodes.Div, OpCodes.Rem, OpCodes.Div_Un, OpCodes.Rem_Un, OpCodes.Add_Ovf, OpCodes.Mul_Ovf_Un, OpCodes.Sub_Ovf_Un }[Below(7)]); break;
            case 6:
                int kind = Below(3);
                for (int i = 0; i < 2; i++) if (kind == 0) Int(depth - 1); else if (kind == 1) Long(depth - 1); else Double(depth - 1);
                il.Emit(new[] { OpCodes.Ceq, OpCodes.Clt, OpCodes.Cgt, OpCodes.Clt_Un, OpCodes.Cgt_Un }[Below(5)]); break;
            case 7: Long(depth - 1); il.Emit(new[] { OpCodes.Conv_I4, OpCodes.Conv_U1, OpCodes.Conv_I2, OpCodes.Conv_I1, OpCodes.Conv_U2, OpCodes.Conv_Ovf_I4, OpCodes.Conv_Ovf_U1 }[Below(7)]); break;
            case 8: Double(depth - 1); il.Emit(OneIn(4) ? OpCodes.Conv_Ovf_I4 : OpCodes.Conv_I4); break;
            case 9: Int(depth - 1); il.Emit(OneIn(2) ? OpCodes.Neg : OpCodes.Not); break;
            case 10: case 11: case 12: Array(); Index(depth - 1); il.Emit(OpCodes.Ldelem_I4); break;
            case 13: Array(); il.Emit(OpCodes.Ldlen); il.Emit(OpCodes.Conv_I4); break;
            case 14: il.Emit(OpCodes.Ldloca, span); Index(depth - 1); il.Emit(OpCodes.Call, typeof(Span<int>).GetMethod("get_Item")); il.Emit(OpCodes.Ldind_I4); break;
            case 15: Node(depth - 1); il.Emit(OpCodes.Ldfld, typeof(Node).GetField("Value")); break;
            case 16: Node(depth - 1); Int(depth - 1); il.Emit(OpCodes.Callvirt, typeof(Node).GetMethod("Visit")); break;
            case 17: il.Emit(OpCodes.Ldloc, any); il.Emit(OpCodes.Castclass, typeof(IShape)); Int(depth - 1); il.Emit(OpCodes.Callvirt, typeof(IShape).GetMethod("Area")); break;
            case 18: il.Emit(OpCodes.Ldloc, any); il.Emit(OpCodes.Unbox_Any, typeof(int)); break;
            case 19: Pair(depth - 1); var copy = il.DeclareLocal(typeof(Pair)); il.Emit(OpCodes.Stloc, copy); il.Emit(OpCodes.Ldloca, copy); if (OneIn(2)) il.Emit(OpCodes.Call, typeof(Pair).GetMethod("Sum")); else il.Emit(OpCodes.Ldfld, typeof(Pair).GetField("X")); break;
            case 20: Int(0); Int(depth - 1); Int(depth - 1); il.Emit(OpCodes.Call, typeof(Helpers).GetMethod("Pick").MakeGenericMethod(typeof(int))); break;
            case 21: il.Emit(OpCodes.Ldstr, "generated"); Index(depth - 1); il.Emit(OpCodes.Callvirt, typeof(string).GetMethod("get_Chars")); break;
            case 22 when !leaf: Int(depth - 1); Long(depth - 1); Array(); Node(0); il.Emit(OpCodes.Ldloc, any); il.Emit(OpCodes.Call, callees[Below(callees.Length)]); break;
            default: il.Emit(OpCodes.Ldloc, any); il.Emit(OpCodes.Isinst, OneIn(2) ? typeof(string) : typeof(IShape)); il.Emit(OpCodes.Ldnull); il.Emit(OpCodes.Cgt_Un); break;
        }
    }
    void Long(int depth)
    {
        if (depth == 0)
        {
            switch (Below(4))
            {
                case 0: il.Emit(OpCodes.Ldarg_1); break;
                case 1: il.Emit(OpCodes.Ldc_I8, (long)Constants[Below(Constants.Length)] * (OneIn(3) ? 65537 : 1)); break;
                case 2: il.Emit(OpCodes.Ldsfld, typeof(Helpers).GetField("Total")); break;
                default: il.Emit(OpCodes.Ldloc, longs[Below(2)]); break;
            }
            return;
        }
        switch (Below(9))
        {
            case 0: case 1: case 2: Long(depth - 1); Long(depth - 1); il.Emit(new[] { OpCodes.Add, OpCodes.Sub, OpCodes.Mul, OpCodes.Xor, OpCodes.And, OpCodes.Div, OpCodes.Rem_Un, OpCodes.Sub_Ovf }[Below(8)]); break;
            case 3: Long(depth - 1); Int(depth - 1); il.Emit(OpCodes.Ldc_I4, 63); il.Emit(OpCodes.And); il.Emit(new[] { OpCodes.Shl, OpCodes.Shr, OpCodes.Shr_Un }[Below(3)]); break;
            case 4: case 5: Int(depth - 1); il.Emit(OneIn(2) ? OpCodes.Conv_I8 : OpCodes.Conv_U8); break;
            case 6: Double(depth - 1); il.Emit(OpCodes.Conv_I8); break;
            case 7: Pair(depth - 1); var copy = il.DeclareLocal(typeof(Pair)); il.Emit(OpCodes.Stloc, copy); il.Emit(OpCodes.Ldloc, copy); il.Emit(OpCodes.Ldfld, typeof(Pair).GetField("Y")); break;
            default: il.Emit(OpCodes.Ldloc, any); il.Emit(OpCodes.Castclass, typeof(IShape)); Long(depth - 1); il.Emit(OpCodes.Callvirt, typeof(IShape).GetMethod("Scale")); break;
        }
    }
    void Double(int depth)
    {
        if (depth == 0) { if (OneIn(2)) il.Emit(OpCodes.Ldloc, doubles[Below(2)]); else il.Emit(OpCodes.Ldc_R8, new[] { 0, 1.5, -0.25, 1e300, double.NaN }[Below(5)]); return; }
        switch (Below(6))
        {
            case 0: case 1: case 2: Double(depth - 1); Double(depth - 1); il.Emit(new[] { OpCodes.Add, OpCodes.Sub, OpCodes.Mul, OpCodes.Div }[Below(4)]); break;
            case 3: Int(depth - 1); il.Emit(OpCodes.Conv_R8); break;
            case 4: Long(depth - 1); il.Emit(OneIn(2) ? OpCodes.Conv_R8 : OpCodes.Conv_R4); il.Emit(OpCodes.Conv_R8); break;
            default: Node(depth - 1); il.Emit(OpCodes.Ldfld, typeof(Node).GetField("Real")); break;
        }
    }

    void Statements(int depth) { for (int n = 1 + Below(4); n > 0; n--) Statement(depth); }
    void Statement(int depth)
    {
        if (--budget < 0) return;
        int size = Below(4);
        switch (Below(depth == 0 ? 15 : 24))
        {
            case 0: case 1: Int(size); il.Emit(OpCodes.Stloc, new[] { ints[0], ints[1], ints[2], ints[3], small, narrow }[Below(6)]); break;
            case 2: Long(size); il.Emit(OpCodes.Stloc, longs[Below(2)]); break;
            case 3: Double(size); il.Emit(OpCodes.Stloc, doubles[Below(2)]); break;
            case 4: Pair(size); il.Emit(OpCodes.Stloc, pairs[Below(2)]); break;
            case 5: il.Emit(OpCodes.Ldloca, pairs[Below(2)]); if (OneIn(2)) { Int(size); il.Emit(OpCodes.Stfld, typeof(Pair).GetField("X")); } else { Long(size); il.Emit(OpCodes.Stfld, typeof(Pair).GetField("Y")); } break;
            case 6: case 7: Array(); Index(1); Int(size); il.Emit(OpCodes.Stelem_I4); break;
            case 8: il.Emit(OpCodes.Ldloca, span); Index(1); il.Emit(OpCodes.Call, typeof(Span<int>).GetMethod("get_Item")); Int(size); il.Emit(OpCodes.Stind_I4); break;
            case 9: Node(1); if (OneIn(2)) { Int(size); il.Emit(OpCodes.Stfld, typeof(Node).GetField("Value")); } else { Pair(1); il.Emit(OpCodes.Stfld, typeof(Node).GetField("Inner")); } break;
            case 10: Node(2); il.Emit(OpCodes.Stloc, node); break;
            case 11: Int(0); il.Emit(OpCodes.Ldc_I4_7); il.Emit(OpCodes.And); Int(size); il.Emit(OpCodes.Call, typeof(Helpers).GetMethod("Box")); il.Emit(OpCodes.Stloc, any); break;
            case 12: Int(size); il.Emit(OpCodes.Stsfld, typeof(Helpers).GetField("Counter")); break;
            case 13: if (OneIn(2)) { il.Emit(OpCodes.Ldloca, ints[1]); il.Emit(OpCodes.Call, typeof(Helpers).GetMethod("Bump")); } else { Int(size); il.Emit(OpCodes.Ldloca, longs[1]); il.Emit(OpCodes.Call, typeof(Helpers).GetMethod("Out")); il.Emit(OpCodes.Stloc, ints[2]); } break;
            case 14: Int(size); il.Emit(OpCodes.Starg, 0); break;
            case 15: case 16:
                {
                    Label other = il.DefineLabel(), end = il.DefineLabel();
                    Int(2); il.Emit(OpCodes.Brfalse, other); Statements(depth - 1); il.Emit(OpCodes.Br, end); il.MarkLabel(other); Statements(depth - 1); il.MarkLabel(end); break;
                }
            case 17: case 18: case 19 when loops < 3: if (loops < 3) Loop(depth); break;
            case 20:
                {
                    var cases = new Label[1 + Below(5)]; Label end = il.DefineLabel();
                    for (int i = 0; i < cases.Length; i++) cases[i] = il.DefineLabel();
                    Int(2); il.Emit(OpCodes.Ldc_I4_7); il.Emit(OpCodes.And); il.Emit(OpCodes.Switch, cases); Statement(depth - 1);
                    foreach (var label in cases) { if (!OneIn(3)) il.Emit(OpCodes.Br, end); il.MarkLabel(label); Statement(depth - 1); }
                    il.MarkLabel(end); break;
                }
            case 21: case 22 when !leaf: if (!leaf) Protect(depth); break;
            default: if (exit is Label l) { Int(2); il.Emit(OpCodes.Brtrue, l); } break;
        }
    }
    void Loop(int depth)
    {
        var counter = counters[loops++]; Label head = il.DefineLabel(), test = il.DefineLabel(), end = il.DefineLabel(); var before = exit; exit = end;
        il.Emit(OpCodes.Ldc_I4_0); il.Emit(OpCodes.Stloc, counter);
        if (OneIn(2)) il.Emit(OpCodes.Br, test);
        il.MarkLabel(head); Statements(depth - 1);
        il.Emit(OpCodes.Ldloc, counter); il.Emit(OpCodes.Ldc_I4_1); il.Emit(OpCodes.Add); il.Emit(OpCodes.Stloc, counter);
        il.MarkLabel(test); il.Emit(OpCodes.Ldloc, counter);
        if (OneIn(3)) { Array(); il.Emit(OpCodes.Ldlen); il.Emit(OpCodes.Conv_I4); } else il.Emit(OpCodes.Ldc_I4, 1 + Below(7));
        il.Emit(OpCodes.Blt, head); il.MarkLabel(end); exit = before; loops--;
    }
    void Protect(int depth)
    {
        if (tries > 6) return;
        tries++;
        var before = exit; exit = null;
        il.BeginExceptionBlock();
        Statements(depth - 1);
        bool catches = !OneIn(3);
        if (catches)
        {
            il.BeginCatchBlock(OneIn(3) ? typeof(ArithmeticException) : typeof(Exception));
            il.Emit(OpCodes.Call, typeof(Helpers).GetMethod("Fold")); il.Emit(OpCodes.Ldloc, result); il.Emit(OpCodes.Ldc_I4, 31); il.Emit(OpCodes.Mul); il.Emit(OpCodes.Add); il.Emit(OpCodes.Stloc, result);
            Statements(depth - 1);
        }
        if (!catches || OneIn(4)) { il.BeginFinallyBlock(); Statements(depth - 1); }
        il.EndExceptionBlock();
        exit = before;
    }
    void Mix(Action value) { il.Emit(OpCodes.Ldloc, result); il.Emit(OpCodes.Ldc_I4, 31); il.Emit(OpCodes.Mul); value(); il.Emit(OpCodes.Add); il.Emit(OpCodes.Stloc, result); }

    public void Method()
    {
        for (int i = 0; i < 4; i++) ints[i] = il.DeclareLocal(typeof(int));
        for (int i = 0; i < 2; i++) { longs[i] = il.DeclareLocal(typeof(long)); doubles[i] = il.DeclareLocal(typeof(double)); pairs[i] = il.DeclareLocal(typeof(Pair)); }
        for (int i = 0; i < 3; i++) counters[i] = il.DeclareLocal(typeof(int));
        small = il.DeclareLocal(typeof(byte)); narrow = il.DeclareLocal(typeof(short)); span = il.DeclareLocal(typeof(Span<int>)); node = il.DeclareLocal(typeof(Node)); any = il.DeclareLocal(typeof(object)); result = il.DeclareLocal(typeof(int));
        il.Emit(OpCodes.Ldarg_3); il.Emit(OpCodes.Stloc, node); il.Emit(OpCodes.Ldarg, 4); il.Emit(OpCodes.Stloc, any);
        Array(); il.Emit(OpCodes.Newobj, typeof(Span<int>).GetConstructor(new[] { typeof(int[]) })); il.Emit(OpCodes.Stloc, span);
        budget = leaf ? 4 : 60;
        if (leaf) Statement(OneIn(3) ? 1 : 0); else for (int i = 0; i < 4; i++) if (OneIn(2)) Protect(3); else Statements(3);
        foreach (var l in ints) Mix(() => il.Emit(OpCodes.Ldloc, l));
        foreach (var l in longs) Mix(() => { il.Emit(OpCodes.Ldloc, l); il.Emit(OpCodes.Conv_I4); });
        if (!leaf)
        {
            foreach (var l in doubles) Mix(() => { il.Emit(OpCodes.Ldloc, l); il.Emit(OpCodes.Conv_I4); });
            foreach (var l in pairs) Mix(() => { il.Emit(OpCodes.Ldloca, l); il.Emit(OpCodes.Call, typeof(Pair).GetMethod("Sum")); });
            Mix(() => il.Emit(OpCodes.Ldloc, small)); Mix(() => il.Emit(OpCodes.Ldloc, narrow));
            Mix(() => { il.Emit(OpCodes.Ldloc, any); il.Emit(OpCodes.Isinst, typeof(IShape)); il.Emit(OpCodes.Ldnull); il.Emit(OpCodes.Cgt_Un); });
        }
        il.Emit(OpCodes.Ldloc, result); il.Emit(OpCodes.Ret);
    }
}

static class Program
{
    static int Mix(int h, int x) => h * 31 + x;
    static int Run(Code code, int a, long b, int size, bool square)
    {
        var array = new int[size];
        for (int i = 0; i < size; i++) array[i] = i * 7 - 3;
        Node tail = new Circle { Value = 5, Real = 2.5, Inner = new Pair(1, 2) }, head = square ? new Square { Value = a & 15, Next = tail } : new Node { Value = 9, Next = tail };
        Helpers.Counter = a & 7; Helpers.Total = b; Helpers.Root = head;
        int h;
        try { h = code(a, b, array, head, square ? (object)tail : a); }
        catch (Exception e) { h = Helpers.Fold(e); }
        foreach (int x in array) h = Mix(h, x);
        for (Node n = head; n != null; n = n.Next) h = Mix(Mix(Mix(h, n.Value), n.Inner.X), (int)n.Inner.Y);
        return Mix(Mix(h, Helpers.Counter), (int)Helpers.Total);
    }
    static int All(Code code) => Mix(Mix(Mix(Run(code, 0, 0, 8, false), Run(code, 5, -3, 8, true)), Run(code, int.MinValue, 1L << 40, 6, true)), Run(code, 1234567, -1, 0, false));

    static Code Make(ModuleBuilder module, ulong seed)
    {
        var type = module.DefineType("P" + seed, TypeAttributes.Public | TypeAttributes.Class | TypeAttributes.Abstract | TypeAttributes.Sealed);
        Type[] parameters = { typeof(int), typeof(long), typeof(int[]), typeof(Node), typeof(object) };
        MethodBuilder Define(string name) => type.DefineMethod(name, MethodAttributes.Public | MethodAttributes.Static, typeof(int), parameters);
        var callees = new MethodInfo[3];
        for (int i = 0; i < 3; i++)
        {
            var callee = Define("Callee" + i);
            new Generator(callee.GetILGenerator(), seed * 8 + (ulong)i + 1, null, true).Method();
            callees[i] = callee;
        }
        new Generator(Define("Main").GetILGenerator(), seed * 8, callees, false).Method();
        return type.CreateType().GetMethod("Main").CreateDelegate<Code>();
    }

    static int Main(string[] args)
    {
        int Argument(int i, int otherwise) => args.Length > i ? int.Parse(args[i]) : otherwise;
        int count = Argument(0, 150), first = Argument(1, 1), runs = Argument(2, 40), different = 0;
        ModuleBuilder module = null;
        for (int seed = first; seed < first + count; seed++)
        {
            if ((seed - first) % 100 == 0)
                module = AssemblyBuilder.DefineDynamicAssembly(new AssemblyName("Generated" + seed), AssemblyBuilderAccess.Run).DefineDynamicModule("Generated");
            try
            {
                var code = Make(module, (ulong)seed);
                int once = All(code);
                for (int i = 1; i < runs; i++)
                {
                    int again = All(code);
                    if (again != once) { Console.WriteLine($"{seed}: run {i} gave {again:x8} instead of {once:x8}"); different++; break; }
                }
                Console.WriteLine($"{seed}: {once:x8}");
            }
            catch (Exception e) { Console.WriteLine($"{seed}: {e.GetType().Name} {e.Message}"); }
        }
        return different == 0 ? 0 : 1;
    }
}
