// Default comparers of all kinds of types: which class they are, and what they say when the compiler knows it.
using System;
using System.Collections.Generic;

enum Tiny : byte { A, B, Z = 255 }
enum Signed : sbyte { Low = -5, High = 7 }
enum Big : ulong { One = 1, Huge = ulong.MaxValue }
struct Plain { public int X; public string S; }
struct Own : IEquatable<Own>, IComparable<Own>
{
    public int X;
    public bool Equals(Own other) => X % 10 == other.X % 10;
    public int CompareTo(Own other) => (other.X % 10).CompareTo(X % 10);
    public override int GetHashCode() => X % 10;
}
// Equal to something else only.
struct Other : IEquatable<int>, IComparable<int>
{
    public int X;
    public bool Equals(int other) => true;
    public int CompareTo(int other) => 0;
}
struct Throws : IEquatable<Throws>
{
    public bool Equals(Throws other) => throw new InvalidOperationException("equal?");
}

static class Comparers
{
    static bool Equal<T>(T a, T b) => EqualityComparer<T>.Default.Equals(a, b);
    static int Hash<T>(T a) => EqualityComparer<T>.Default.GetHashCode(a);
    static int Order<T>(T a, T b) => Comparer<T>.Default.Compare(a, b);

    static void Test<T>(T a, T b, T c, bool order = true)
    {
        int equal = 0, sum = 0, hashes = 0;
        T[] values = { a, b, c, a };
        for (int round = 0; round < 300; round++)
        {
            foreach (T x in values)
                foreach (T y in values)
                {
                    if (Equal(x, y)) { equal++; if (Hash(x) == Hash(y)) hashes++; }
                    if (order) sum = sum * 3 + Math.Sign(Order(x, y));
                }
        }
        string names = EqualityComparer<T>.Default.GetType().Name + " " + Comparer<T>.Default.GetType().Name;
        Console.WriteLine($"{typeof(T).Name}: {names} {equal} {hashes} {sum} {Array.IndexOf(values, b)} {new HashSet<T>(values).Count}");
    }

    static int Main()
    {
        Test<byte>(1, 2, 255);
        Test<sbyte>(-1, 2, -128);
        Test(3, -4, int.MaxValue);
        Test(3L, long.MinValue, 3L);
        Test('a', 'b', 'a');
        Test(true, false, true);
        Test(1.5, double.NaN, -0.0);
        Test(0f, -0f, float.NaN);
        Test("x", "y", "X");
        Test(null, "", "a");
        Test(Tiny.A, Tiny.Z, Tiny.B);
        Test(Signed.Low, Signed.High, Signed.Low);
        Test(Big.One, Big.Huge, Big.One);
        Test<int?>(null, 4, 3);
        Test<Tiny?>(null, Tiny.A, Tiny.A);
        Test(new Plain { X = 1, S = "p" }, new Plain { X = 1, S = "p" }, default, order: false);
        Test(new Own { X = 11 }, new Own { X = 21 }, new Own { X = 3 });
        Test(new Other { X = 1 }, new Other { X = 2 }, new Other { X = 1 }, order: false);
        Test((1, 2L), (1, 3L), (0, 9L));
        Test(Guid.Empty, new Guid(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11), Guid.Empty);
        Test(1m, 1.0m, 2m);
        Test<object>(1, 1, "1", order: false);
        Test(typeof(int), typeof(string), typeof(int), order: false);
        Test<IntPtr>(5, -5, 5);
        try { Order(new Plain(), new Plain()); }
        catch (ArgumentException e) { Console.WriteLine(e.Message.Contains("IComparable")); }
        for (int i = 0; i < 100; i++)
        {
            try { Equal(new Throws(), new Throws()); Console.WriteLine("not reached"); }
            catch (InvalidOperationException e) when (i % 50 == 0) { Console.WriteLine(e.Message); }
            catch (InvalidOperationException) { }
        }
        return 100;
    }
}
