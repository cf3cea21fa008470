// Where frames are shown in the middle of expressions: at the instruction at which the evaluation stack was last empty.
using System;
using System.Diagnostics;
using System.Runtime.CompilerServices;

static class TraceOffsets
{
    static int field = 3;

    [MethodImpl(MethodImplOptions.NoInlining)]
    static int Fail(int n)
    {
        if (n > 5) throw new InvalidOperationException();
        return n;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    static void FailQuietly(int n) => Fail(n);

    [MethodImpl(MethodImplOptions.NoInlining)]
    static int Sum(int n)
    {
        int r = field;
        r += Fail(n);
        r += Fail(n + 1);
        return r;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    static int Choice(int n, bool b)
    {
        int r = field + (b ? Fail(n) : Fail(n + 1));
        FailQuietly(r);
        return r + field;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    static string Handlers(string s, int n)
    {
        try
        {
            return s.Substring(Fail(n));
        }
        catch (InvalidOperationException e)
        {
            return e.Message + Fail(n + 1);
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    static object Made(int n) => new Tuple<int, int>(Fail(n - 1), Fail(n));

    [MethodImpl(MethodImplOptions.NoInlining)]
    static int Element(int[] a, int i) => field + a[i] * 2;

    static void Show(Action action)
    {
        try
        {
            action();
        }
        catch (Exception e)
        {
            Console.WriteLine(e.GetType().Name);
            foreach (StackFrame frame in new StackTrace(e, false).GetFrames())
            {
                string name = frame.GetMethod().Name;
                if (!name.Contains('<') && name != "Show") Console.WriteLine("  " + name + " " + frame.GetILOffset());
            }
        }
    }

    static int Main()
    {
        Show(() => Sum(9));
        Show(() => Sum(5));
        Show(() => Choice(9, true));
        Show(() => Choice(9, false));
        Show(() => Choice(4, true));
        Show(() => Handlers("x", 9));
        Show(() => Made(6));
        Show(() => Made(9));
        Show(() => Element(null, 3));
        return 100;
    }
}
