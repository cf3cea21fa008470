// The programs of `cargo xtask bench`. Arguments: KERNEL [repetitions = 15]. Prints `iter NUMBER NANOSECONDS` after each
// repetition and at the end `checksum VALUE`, which does not depend on the engine. Without arguments: the kernels' names.
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Numerics;
using System.Text;
using System.Threading.Tasks;

static class Kernels
{
    static readonly Dictionary<string, Func<int, long>> All = new()
    {
        ["calls"] = _ => Fib(27),
        ["sieve"] = Sieve,
        ["bodies"] = Bodies,
        ["dispatch"] = Dispatch,
        ["structs"] = Structs,
        ["generics"] = n => Sum<int>(n) + (long)Sum<double>(n),
        ["dictionary"] = Words,
        ["linq"] = Query,
        ["text"] = Text,
        ["sort"] = Sort,
        ["trees"] = _ => Tree.Make(14).Count() + Tree.Make(13).Count(),
        ["exceptions"] = Exceptions,
        ["tasks"] = n => Tasks(n).GetAwaiter().GetResult(),
        ["spans"] = Spans,
        ["spansum"] = SpanSum,
    };

    static int Main(string[] args)
    {
        if (args.Length == 0) { Console.WriteLine(string.Join("\n", All.Keys)); return 0; }
        if (!All.TryGetValue(args[0], out var kernel)) { Console.Error.WriteLine($"no kernel {args[0]}"); return 2; }
        int repetitions = args.Length > 1 ? int.Parse(args[1]) : 15;
        long checksum = 0;
        for (int i = 0; i < repetitions; i++)
        {
            long start = Stopwatch.GetTimestamp();
            checksum = checksum * 31 + kernel(i);
            long ticks = Stopwatch.GetTimestamp() - start;
            Console.WriteLine($"iter {i} {(long)(ticks * (1e9 / Stopwatch.Frequency))}");
        }
        Console.WriteLine($"checksum {checksum}");
        return 0;
    }

    static int Fib(int n) => n < 2 ? n : Fib(n - 1) + Fib(n - 2);

    static long Sieve(int n)
    {
        var composite = new bool[1_000_000];
        int count = 0;
        for (int i = 2; i < composite.Length; i++)
        {
            if (composite[i]) continue;
            count++;
            for (long j = (long)i * i; j < composite.Length; j += i) composite[j] = true;
        }
        return count + n;
    }

    sealed class Body { public double X, Y, Z, VX, VY, VZ, Mass; }
    static long Bodies(int n)
    {
        var bodies = new Body[5];
        for (int i = 0; i < 5; i++) bodies[i] = new Body { X = i * 1.5, Y = i * i * 0.25, Z = n * 0.125 - i, VX = 0.01 * i, Mass = 1 + i * 0.5 };
        for (int step = 0; step < 20_000; step++)
        {
            for (int i = 0; i < bodies.Length; i++)
            {
                Body a = bodies[i];
                for (int j = i + 1; j < bodies.Length; j++)
                {
                    Body b = bodies[j];
                    double dx = a.X - b.X, dy = a.Y - b.Y, dz = a.Z - b.Z, square = dx * dx + dy * dy + dz * dz + 0.01;
                    double force = 0.001 / (square * Math.Sqrt(square));
                    a.VX -= dx * b.Mass * force; a.VY -= dy * b.Mass * force; a.VZ -= dz * b.Mass * force;
                    b.VX += dx * a.Mass * force; b.VY += dy * a.Mass * force; b.VZ += dz * a.Mass * force;
                }
            }
            foreach (Body b in bodies) { b.X += 0.001 * b.VX; b.Y += 0.001 * b.VY; b.Z += 0.001 * b.VZ; }
        }
        return (long)(bodies[0].X * 1e6);
    }

    interface IShape { double Area(); }
    sealed class Square(double side) : IShape { public double Area() => side * side; }
    sealed class Disc(double radius) : IShape { public double Area() => radius * radius * 3; }
    class Box(double a, double b) : IShape { public virtual double Area() => a * b; }
    sealed class Half(double a, double b) : Box(a, b) { public override double Area() => base.Area() / 2; }
    static long Dispatch(int n)
    {
        var shapes = new IShape[64];
        for (int i = 0; i < shapes.Length; i++) shapes[i] = (i & 3) switch { 0 => new Square(i), 1 => new Disc(i), 2 => new Box(i, n), _ => new Half(i, n) };
        double sum = 0;
        for (int round = 0; round < 20_000; round++) foreach (IShape s in shapes) sum += s.Area();
        return (long)sum;
    }

    readonly struct Vec(double x, double y, double z)
    {
        public readonly double X = x, Y = y, Z = z;
        public static Vec operator +(Vec a, Vec b) => new(a.X + b.X, a.Y + b.Y, a.Z + b.Z);
        public static Vec operator *(Vec a, double s) => new(a.X * s, a.Y * s, a.Z * s);
        public double Dot(Vec b) => X * b.X + Y * b.Y + Z * b.Z;
    }
    static long Structs(int n)
    {
        Vec p = new(1, 2, n), v = new(0.5, -0.25, 0.125);
        double sum = 0;
        for (int i = 0; i < 1_000_000; i++) { p = p + v * 0.001; sum += p.Dot(v); }
        return (long)sum;
    }

    static T Sum<T>(int n) where T : INumber<T>
    {
        var values = new T[1000];
        for (int i = 0; i < values.Length; i++) values[i] = T.CreateChecked(i + n);
        T sum = T.Zero;
        for (int round = 0; round < 1000; round++) foreach (T v in values) sum += v * T.One;
        return sum;
    }

    static long Words(int n)
    {
        var counts = new Dictionary<string, int>();
        var keys = new string[5000];
        for (int i = 0; i < keys.Length; i++) keys[i] = "key" + (i * 7919 % 3001 + n);
        for (int round = 0; round < 20; round++) foreach (string key in keys) counts[key] = counts.GetValueOrDefault(key) + 1;
        return counts.Count + counts.Values.Max();
    }

    static long Query(int n) => Enumerable.Range(n, 100_000).Where(x => x % 3 != 0).Select(x => x * 2L).GroupBy(x => x % 17).OrderBy(g => g.Key).Sum(g => g.Key * g.Count());

    static long Text(int n)
    {
        var sb = new StringBuilder();
        for (int i = 0; i < 20_000; i++) sb.Append(i + n).Append(',').Append(i % 7 == 0 ? "seven" : "other").Append(' ');
        return sb.ToString().Split(' ').Sum(w => (long)w.Length * w.IndexOf(',')) + sb.Length;
    }

    static long Sort(int n)
    {
        var values = new int[100_000];
        uint state = (uint)n + 1;
        for (int i = 0; i < values.Length; i++) { state = state * 1664525 + 1013904223; values[i] = (int)(state >> 8); }
        var copy = (int[])values.Clone();
        Array.Sort(copy);
        Array.Sort(values, (a, b) => b.CompareTo(a));
        return copy[5] + values[5];
    }

    sealed class Tree
    {
        Tree left, right;
        public static Tree Make(int depth) => depth == 0 ? new Tree() : new Tree { left = Make(depth - 1), right = Make(depth - 1) };
        public int Count() => left == null ? 1 : 1 + left.Count() + right.Count();
    }

    static long Exceptions(int n)
    {
        int caught = 0;
        for (int i = 0; i < 1000; i++)
        {
            try { Thrower(i, n); }
            catch (InvalidOperationException) when (i % 2 == 0) { caught++; }
            catch (Exception e) { caught += e.Message.Length; }
        }
        return caught;
    }
    static void Thrower(int i, int n)
    {
        try { if (i % 3 == 0) throw new ArgumentException("argument"); throw new InvalidOperationException("operation"); }
        finally { Counter += n; }
    }
    static int Counter;

    static async Task<long> Tasks(int n)
    {
        long sum = 0;
        for (int i = 0; i < 2000; i++) { sum += await Squared(i); if (i % 100 == 0) await Task.Yield(); }
        return sum + n;
    }
    static async ValueTask<long> Squared(int i) { if (i % 50 == 0) await Task.Yield(); return (long)i * i; }

    // Beside spansum.c: the sums of 1 K, 16 K and 1 M integers.
    [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.NoInlining)]
    static int Sum(Span<int> data)
    {
        int sum = 0;
        for (int i = 0; i < data.Length; i++) sum += data[i];
        return sum;
    }
    static readonly int[] Numbers = Fill(1 << 20);
    static int[] Fill(int length)
    {
        var data = new int[length];
        uint random = 17;
        for (int i = 0; i < length; i++) { random = random * 1664525 + 1013904223; data[i] = (int)(random >> 8); }
        return data;
    }
    static long SpanSum(int n)
    {
        uint total = (uint)n;
        for (int round = 0; round < 16; round++)
            for (int length = 1 << 10; length <= 1 << 20; length <<= length == 1 << 10 ? 4 : 6)
                for (int start = 0; start < 1 << 20; start += length)
                    total = total * 31 + (uint)Sum(Numbers.AsSpan(start, length));
        return total;
    }

    static long Spans(int n)
    {
        Span<int> data = new int[10_000];
        for (int i = 0; i < data.Length; i++) data[i] = i ^ n;
        long sum = 0;
        for (int round = 0; round < 200; round++)
        {
            int max = int.MinValue, local = 0;
            foreach (int x in data) { local += x; if (x > max) max = x; }
            sum += local + max + data.IndexOf(-1);
        }
        return sum;
    }
}
