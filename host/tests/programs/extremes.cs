// Minima and maxima of floats, bit by bit: single ones, vectors, and loops over arrays and spans. Recorded from CoreCLR
// without AVX-512, whose instructions make other numbers of what is none.
using System;
using System.Linq;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

static class Program
{
    static readonly ulong[] Doubles =
    {
        0, 0x8000000000000000, 0x3ff0000000000000, 0xc000000000000000, 0x7ff0000000000000, 0xfff0000000000000,
        0x7ff8000000000001, 0x7ff8000000000002, 0x7ff0000000000003, 0xfff8000000000004, 0xfff0000000000005,
    };
    static readonly uint[] Floats =
    {
        0, 0x80000000, 0x3f800000, 0xc0000000, 0x7f800000, 0xff800000,
        0x7fc00001, 0x7fc00002, 0x7f800003, 0xffc00004, 0xff800005,
    };

    static ulong Bits(double x) => BitConverter.DoubleToUInt64Bits(x);
    static ulong Bits(float x) => BitConverter.SingleToUInt32Bits(x);

    [MethodImpl(MethodImplOptions.NoInlining)]
    static ulong Pair(int how, double x, double y) => how switch
    {
        0 => Bits(Math.Min(x, y)),
        1 => Bits(Math.Max(x, y)),
        2 => Bits(double.Min(x, y)),
        3 => Bits(x < y ? x : y),
        4 => Bits(x > y ? x : y),
        5 => Bits(x <= y ? y : x),
        6 => Vector128.Min(Vector128.Create(x), Vector128.Create(y)).AsUInt64()[1],
        7 => Vector128.Max(Vector128.Create(x), Vector128.Create(y)).AsUInt64()[0],
        8 => Bits(Vector.Max(new Vector<double>(x), new Vector<double>(y))[1]),
        _ => Bits(Math.Min(Math.Max(x, -1.0), y)),
    };

    [MethodImpl(MethodImplOptions.NoInlining)]
    static ulong Pair(int how, float x, float y) => how switch
    {
        0 => Bits(Math.Min(x, y)),
        1 => Bits(MathF.Max(x, y)),
        2 => Bits(float.Max(x, y)),
        3 => Bits(x < y ? x : y),
        4 => Bits(x > y ? x : y),
        5 => Bits(x >= y ? y : x),
        6 => Vector128.Min(Vector128.Create(x), Vector128.Create(y)).AsUInt32()[3],
        7 => Vector128.Max(Vector128.Create(x), Vector128.Create(y)).AsUInt32()[1],
        8 => Bits(Vector.Min(new Vector<float>(x), new Vector<float>(y))[2]),
        _ => Bits(Math.Max(Math.Min(x, 1f), y)),
    };

    static double MinOf(double[] a) { double m = a[0]; for (int i = 1; i < a.Length; i++) m = Math.Min(m, a[i]); return m; }
    static double MaxOf(Span<double> a) { double m = a[0]; foreach (double x in a) m = Math.Max(x, m); return m; }
    static double Less(double[] a) { double m = a[0]; for (int i = 1; i < a.Length; i++) if (a[i] < m) m = a[i]; return m; }
    static double Greater(ReadOnlySpan<double> a) { double m = a[0]; foreach (double x in a) m = x >= m ? x : m; return m; }
    static double Kept(double[] a) { double m = a[0]; foreach (double x in a) m = m < x ? m : x; return m; }
    static (double, double) Range(double[] a)
    {
        double low = double.PositiveInfinity, high = double.NegativeInfinity;
        foreach (double x in a) { low = Math.Min(low, x); if (x > high) high = x; }
        return (low, high);
    }
    static float MinOf(Span<float> a) { float m = a[0]; foreach (float x in a) m = MathF.Min(m, x); return m; }
    static float MaxOf(float[] a) { float m = a[0]; for (int i = 1; i < a.Length; i++) m = Math.Max(m, a[i]); return m; }
    static float Less(ReadOnlySpan<float> a) { float m = a[0]; foreach (float x in a) if (x <= m) m = x; return m; }
    static float Greater(float[] a) { float m = a[0]; foreach (float x in a) if (!(x <= m)) m = x; return m; }
    static float MaxAbs(float[] a) { float m = 0; foreach (float x in a) m = Math.Max(m, Math.Abs(x)); return m; }
    static void Clamp(double[] a, double[] to) { for (int i = 0; i < to.Length; i++) to[i] = Math.Min(Math.Max(a[i], -0.0), 2.0); }
    static void Larger(float[] a, float[] b, float[] to) { for (int i = 0; i < to.Length; i++) to[i] = MathF.Max(a[i], b[i]); }
    static void Chosen(float[] a, float[] b, float[] to) { for (int i = 0; i < to.Length; i++) to[i] = a[i] < b[i] ? a[i] : b[i]; }

    static ulong Hash(ulong h, ulong x) => (h ^ x) * 0x100000001b3 + (h >> 47);

    [MethodImpl(MethodImplOptions.NoInlining)]
    static ulong Loops(Random random, int flavour)
    {
        int n = 1 + random.Next(90);
        double[] d = new double[n], e = new double[n];
        float[] f = new float[n], g = new float[n], o = new float[n];
        for (int i = 0; i < n; i++)
        {
            int kind = flavour switch
            {
                0 => random.Next(2),
                1 => random.Next(3),
                2 => random.Next(2) * 3,
                3 => random.Next(6),
                4 => random.Next(40) == 0 ? random.Next(Doubles.Length) : 2,
                _ => random.Next(Doubles.Length),
            };
            d[i] = BitConverter.UInt64BitsToDouble(Doubles[kind]);
            f[i] = BitConverter.UInt32BitsToSingle(Floats[kind]);
            g[i] = BitConverter.UInt32BitsToSingle(Floats[random.Next(flavour < 3 ? 2 : Floats.Length)]);
        }
        ulong h = (ulong)n;
        h = Hash(h, Bits(MinOf(d))); h = Hash(h, Bits(MaxOf(d.AsSpan()))); h = Hash(h, Bits(Less(d)));
        h = Hash(h, Bits(Greater(d))); h = Hash(h, Bits(Kept(d)));
        (double low, double high) = Range(d);
        h = Hash(h, Bits(low)); h = Hash(h, Bits(high));
        h = Hash(h, Bits(MinOf(f.AsSpan()))); h = Hash(h, Bits(MaxOf(f))); h = Hash(h, Bits(Less(f)));
        h = Hash(h, Bits(Greater(f))); h = Hash(h, Bits(MaxAbs(f)));
        h = Hash(h, Bits(d.Min())); h = Hash(h, Bits(d.Max())); h = Hash(h, Bits(f.Min())); h = Hash(h, Bits(f.Max()));
        Clamp(d, e);
        foreach (double x in e) h = Hash(h, Bits(x));
        Larger(f, g, o);
        foreach (float x in o) h = Hash(h, Bits(x));
        Chosen(f, g, o);
        foreach (float x in o) h = Hash(h, Bits(x));
        return h;
    }

    static int Main()
    {
        for (int how = 0; how < 10; how++)
        {
            for (int i = 0; i < Doubles.Length; i++)
            {
                string line = $"{how} {Doubles[i]:x16}:";
                foreach (ulong y in Doubles)
                {
                    ulong bits = Pair(how, BitConverter.UInt64BitsToDouble(Doubles[i]), BitConverter.UInt64BitsToDouble(y));
                    line += $" {Array.IndexOf(Doubles, bits)}";
                }
                line += ";";
                foreach (uint y in Floats)
                {
                    ulong bits = Pair(how, BitConverter.UInt32BitsToSingle(Floats[i]), BitConverter.UInt32BitsToSingle(y));
                    line += $" {Array.IndexOf(Floats, (uint)bits)}";
                }
                Console.WriteLine(line);
            }
        }
        var random = new Random(5);
        for (int flavour = 0; flavour < 6; flavour++)
        {
            ulong h = 0;
            for (int round = 0; round < 400; round++)
                h = Hash(h, Loops(random, flavour));
            Console.WriteLine($"loops {flavour}: {h:x16}");
        }
        return 100;
    }
}
