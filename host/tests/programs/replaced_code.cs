// Code that better code has replaced is given back. Whoever knew the methods before uses them afterwards: delegates, function
// pointers, virtual and interface calls, reflection, frames that return late, loops, stack traces.
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Threading;

interface IShape { int Sides(int n); }

abstract class Shape : IShape
{
    public abstract int Area(int n);
    public virtual int Sides(int n) => n;
    public override string ToString() => "shape";
}

class Square : Shape
{
    public override int Area(int n) => n * n;
    public override int Sides(int n) => 4 + n;
    public override string ToString() => "square";
}

class Circle : Shape
{
    public override int Area(int n) => 3 * n * n;
    public override int Sides(int n) => n == int.MinValue ? throw new InvalidOperationException("no sides") : 0;
}

struct Point : IShape
{
    public int X;
    public int Sides(int n) => X + n;
    public override int GetHashCode() => X;
}

delegate int Adds(int a, int b);

static unsafe class ReplacedCode
{
    static readonly List<string> lines = new();
    static void Check(string what, object value) => lines.Add($"{what}: {value}");

    [MethodImpl(MethodImplOptions.NoInlining)]
    static int Plus(int a, int b) => a + b;

    [MethodImpl(MethodImplOptions.NoInlining)]
    static T Same<T>(T value) => value;

    [UnmanagedCallersOnly]
    static int FromNative(int a) => Plus(a, 1);

    [MethodImpl(MethodImplOptions.NoInlining)]
    static int Fails(int n)
    {
        if (n < 0) throw new ArgumentException("negative");
        return n;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    static Exception Caught(int n)
    {
        try { Fails(n); return null; }
        catch (ArgumentException e) { return e; }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    static int Guarded(int n)
    {
        try { return Fails(n); }
        catch (ArgumentException e) when (e.Message.Length == n + 9) { return -1; }
        finally { finals++; }
    }
    static int finals;

    // A frame of slow code that stays while its method is replaced.
    [MethodImpl(MethodImplOptions.NoInlining)]
    static int Waits(int n, ManualResetEventSlim inside, ManualResetEventSlim go)
    {
        int before = Plus(n, 1);
        if (inside != null)
        {
            inside.Set();
            go.Wait();
            for (int i = 0; i < 3; i++) { Collect(); before += Plus(i, 1); }
            try { Fails(-1); }
            catch (ArgumentException e) { before += e.Message.Length; }
        }
        return before;
    }

    // A loop that is replaced while it runs, in a frame that then waits; and a loop around it.
    [MethodImpl(MethodImplOptions.NoInlining)]
    static long Loops(int rounds, ManualResetEventSlim inside, ManualResetEventSlim go)
    {
        long sum = 0;
        for (int r = 0; r < rounds; r++)
        {
            for (int i = 0; i < 200_000; i++) sum += i & r;
            if (inside != null && r == rounds / 2) { inside.Set(); go.Wait(); Collect(); }
        }
        return sum;
    }

    // Deep recursion of slow code; its code changes below.
    [MethodImpl(MethodImplOptions.NoInlining)]
    static int Recurses(int depth, Action atEnd)
    {
        if (depth == 0) { atEnd?.Invoke(); return 0; }
        return Recurses(depth - 1, atEnd) + 1;
    }

    static IEnumerable<int> Numbers(int n)
    {
        for (int i = 0; i < n; i++) yield return Plus(i, i);
    }

    static void Collect() { GC.Collect(); GC.WaitForPendingFinalizers(); GC.Collect(); }

    // Until hot methods have been promoted: their callers do not matter, only that it takes long enough.
    [MethodImpl(MethodImplOptions.NoInlining)]
    static int Work(Shape[] shapes, IShape[] more, int n)
    {
        int sum = 0;
        for (int i = 0; i < n; i++)
        {
            Shape s = shapes[i % shapes.Length];
            sum += s.Area(i & 3) + s.Sides(1) + more[i % more.Length].Sides(2) + Plus(i, 1) + Same(i) + Same("x").Length;
            sum += Fails(i) + Guarded(i) + Recurses(3, null) + s.ToString().Length;
            if (i % 16 == 0) { sum += Caught(-1).Message.Length + Waits(i, null, null) + Numbers(3).Sum(); sum += (int)Loops(1, null, null); }
        }
        return sum;
    }

    static void Warm(Shape[] shapes, IShape[] more)
    {
        // The library, too.
        for (int round = 0; round < 6; round++)
        {
            Work(shapes, more, 400);
            var words = new Dictionary<string, int>();
            for (int i = 0; i < 300; i++) words[$"word {i % 50}"] = i;
            string.Join(",", words.OrderBy(w => w.Value).Select(w => w.Key.ToUpperInvariant())).Split(',');
            Thread.Sleep(60);
            Collect();
        }
    }

    static int Main()
    {
        Shape[] shapes = { new Square(), new Circle() };
        IShape[] more = { new Square(), new Circle(), new Point { X = 5 } };

        // Known before anything is hot.
        Func<int, int, int> add = Plus;
        Func<int, int> area = shapes[0].Area;
        Func<int, int> sides = more[2].Sides;
        Func<string, string> same = Same<string>;
        Action<int> list = n => finals += n;
        list += n => finals += 2 * n;
        delegate*<int, int, int> pointer = &Plus;
        delegate* unmanaged<int, int> native = &FromNative;
        var method = typeof(ReplacedCode).GetMethod("Plus", System.Reflection.BindingFlags.NonPublic | System.Reflection.BindingFlags.Static);
        var open = (Func<Shape, int, int>)Delegate.CreateDelegate(typeof(Func<Shape, int, int>), typeof(Shape).GetMethod("Area"));
        Adds adds = Plus;
        IntPtr callback = Marshal.GetFunctionPointerForDelegate(adds);
        Exception early = Caught(-5);
        Exception sidesFail = null;
        try { more[1].Sides(int.MinValue); } catch (InvalidOperationException e) { sidesFail = e; }

        var inside = new ManualResetEventSlim();
        var go = new ManualResetEventSlim();
        int waited = 0;
        var waits = new Thread(() => waited = Waits(10, inside, go));
        waits.Start();
        inside.Wait();
        var insideLoop = new ManualResetEventSlim();
        var goLoop = new ManualResetEventSlim();
        long looped = 0;
        var loops = new Thread(() => looped = Loops(12, insideLoop, goLoop));
        loops.Start();
        insideLoop.Wait();
        int deep = Recurses(200, () => Warm(shapes, more));
        IEnumerator<int> numbers = Numbers(5).GetEnumerator();
        numbers.MoveNext();

        for (int i = 0; i < 3; i++) Warm(shapes, more);

        Check("add", add(2, 3));
        Check("area", area(4));
        Check("sides", sides(6));
        Check("same", same("text"));
        Check("open", open(shapes[1], 2));
        finals = 0;
        list(5);
        Check("list", finals);
        Check("pointer", pointer(20, 22));
        Check("native", native(8));
        Check("callback", ((delegate* unmanaged<int, int, int>)callback)(30, 3));
        Check("reflection", method.Invoke(null, new object[] { 7, 8 }));
        Check("virtual", string.Join(" ", shapes.Select(s => s.Area(3) + " " + s)));
        Check("interface", string.Join(" ", more.Select(s => s.Sides(1))));
        GC.KeepAlive(adds);
        Check("late", ((Func<int, int, int>)Plus)(1, 1));
        Check("deep", deep);
        while (numbers.MoveNext()) Check("number", numbers.Current);
        go.Set();
        waits.Join();
        Check("waited", waited);
        goLoop.Set();
        loops.Join();
        Check("looped", looped);
        Check("guarded", Guarded(3));
        // "negative" is 8 characters: the filter takes -1.
        Check("filter", Guarded(-1));
        foreach (Exception e in new[] { early, sidesFail })
            Check("trace", string.Join(" <- ", e.StackTrace.Split('\n').Select(l => l.Trim())));
        var frame = new StackTrace(early).GetFrame(0);
        Check("frame", frame.GetMethod().Name + " " + (frame.GetNativeOffset() > 0) + " " + (frame.GetILOffset() >= 0));
        Exception again = null;
        try { System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(early); } catch (ArgumentException e) { again = e; }
        Check("again", again.StackTrace.Split('\n').Length);
        Warm(shapes, more);
        foreach (string line in lines) Console.WriteLine(line);
        return 100;
    }
}
