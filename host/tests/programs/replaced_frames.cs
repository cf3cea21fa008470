// Loops that are replaced while they run, in methods whose variables somebody may know by their address: before the loop, in the
// loop, in methods of methods, through references, spans, pointers and iterators of structs.
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;

struct Vec
{
    public double X, Y, Z;
    public object Tag;
    public Vec(double x, double y, double z) { X = x; Y = y; Z = z; Tag = "made"; }
    public void Add(in Vec o) { X += o.X; Y += o.Y; Z += o.Z; }
    public double Dot(in Vec o) => X * o.X + Y * o.Y + Z * o.Z;
    public void Nested(ref int calls) { Deeper(ref calls, 3); }
    static void Deeper(ref int calls, int depth) { calls++; if (depth > 0) Deeper(ref calls, depth - 1); }
}

ref struct Window
{
    public ref int Target;
    public Window(ref int target) { Target = ref target; }
    public void Bump() { Target++; }
}

unsafe class Program
{
    const int Rounds = 60_000;
    static int* kept;
    static int* Keep(ref int x) { kept = (int*)Unsafe.AsPointer(ref x); return kept; }
    static void KeepSilently(ref int x) { KeepDeeper(ref x); }
    static void KeepDeeper(ref int x) { kept = (int*)Unsafe.AsPointer(ref x); }
    static ref int Same(ref int x) => ref x;
    static ref int Larger(ref int a, ref int b) => ref (a > b ? ref a : ref b);
    static void Swap(ref Vec a, ref Vec b) { Vec t = a; a = b; b = t; }
    static bool TryHalf(int x, out int half) { half = x / 2; return (x & 1) == 0; }
    static void Throws(ref int x) { x++; if (x % 1000 == 0) throw new InvalidOperationException("at " + x); }

    // Nobody keeps an address: the variables may move.
    static string Plain()
    {
        Vec p = new Vec(1, 2, 3), v = new Vec(0.5, -0.25, 0.125), q = default;
        double sum = 0;
        int calls = 0, half = 0, even = 0;
        for (int i = 0; i < Rounds; i++)
        {
            p.Add(v);
            sum += p.Dot(v);
            if (TryHalf(i, out half)) even += half & 7;
            if (i % 5000 == 0) { Swap(ref p, ref q); q.Tag = i.ToString(); v.Nested(ref calls); }
        }
        return $"{sum} {p.X} {q.Y} {p.Tag} {q.Tag} {v.Tag} {calls} {half} {even}";
    }

    // A pointer is kept before the loop, and used in it by others.
    static string Pointer()
    {
        int x = 1, y = 2;
        KeepSilently(ref x);
        Keep(ref y);
        int* first = kept;
        KeepSilently(ref x);
        long sum = 0;
        for (int i = 0; i < Rounds; i++)
        {
            *kept += i & 3;
            *first ^= i;
            sum += x + y;
        }
        return $"{sum} {x} {y}";
    }

    // References to variables.
    static string References()
    {
        int a = 1, b = 2, c = 3;
        ref int r = ref a;
        ref int s = ref Same(ref b);
        long sum = 0;
        for (int i = 0; i < Rounds; i++)
        {
            r++;
            s += 2;
            Larger(ref b, ref c) += i & 1;
            sum += a * 3 + b * 5 + c;
        }
        return $"{sum} {a} {b} {c}";
    }

    static string Windows()
    {
        int a = 1, b = 5;
        var w = new Window(ref a);
        Span<int> span = new Span<int>(ref b);
        long sum = 0;
        for (int i = 0; i < Rounds; i++)
        {
            w.Bump();
            span[0] += a & 3;
            sum += a + b;
        }
        return $"{sum} {a} {b}";
    }

    static string Handlers()
    {
        int x = 0, caught = 0;
        string last = "";
        for (int i = 0; i < Rounds; i++)
        {
            try { Throws(ref x); }
            catch (InvalidOperationException e) when (x > 2000) { caught++; last = e.Message; }
            catch (InvalidOperationException) { x += 7; }
            finally { x += i & 1; }
        }
        return $"{x} {caught} {last}";
    }

    static string Enumerators()
    {
        var list = new List<string>();
        for (int i = 0; i < 300; i++) list.Add("item" + i);
        var map = new Dictionary<int, string>();
        int length = 0;
        for (int round = 0; round < 200; round++)
        {
            foreach (string s in list) length += s.Length;
            if (!map.TryGetValue(round & 15, out string found)) map[round & 15] = found = "v" + round;
            length += found.Length;
        }
        foreach (var (key, value) in map) length += key + value.Length;
        return length.ToString();
    }

    // References in a struct that moves, with collections.
    static string Collected()
    {
        Vec p = new Vec(1, 1, 1);
        object[] keep = new object[16];
        int matches = 0;
        for (int i = 0; i < Rounds; i++)
        {
            if (i % 100 == 0) p.Tag = new string('x', i % 7);
            keep[i & 15] = new byte[100];
            p.Add(p);
            if (p.X > 1e9) p = new Vec(1, 1, 1);
            matches += p.Tag is string s ? s.Length : 1;
        }
        return $"{matches} {p.Tag}";
    }

    static int Main()
    {
        for (int i = 0; i < 2; i++)
        {
            Console.WriteLine(Plain());
            Console.WriteLine(Pointer());
            Console.WriteLine(References());
            Console.WriteLine(Windows());
            Console.WriteLine(Handlers());
            Console.WriteLine(Enumerators());
            Console.WriteLine(Collected());
        }
        return 100;
    }
}
