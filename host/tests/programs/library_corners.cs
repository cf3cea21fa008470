// Native layouts of structs with vectors and 128-bit integers, structs without a native form as parameters; properties of threads
// that have ended.
using System;
using System.Numerics;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Threading;

struct AfterVector { public Vector128<int> A; public byte B; }
struct Vector64Field { public byte B; public Vector64<short> A; }
struct Vector256Field { public byte B; public Vector256<int> A; public byte C; }
[StructLayout(LayoutKind.Sequential, Pack = 4)] struct Packed { public byte B; public Vector128<int> A; }
struct Nested { public byte B; public AfterVector X; public byte C; }
struct Wide { public byte B; public Int128 X; public byte C; }
struct NestedWide { public byte A; public Wide X; }
[StructLayout(LayoutKind.Auto)] struct Automatic { public byte A; public int B; }
struct DecimalField { public byte A; public decimal M; }
struct GuidField { public byte A; public Guid M; }
[StructLayout(LayoutKind.Explicit)] struct Explicit { [FieldOffset(4)] public Vector128<int> A; }
struct QuaternionField { public byte A; public Quaternion X; public byte B; }
[StructLayout(LayoutKind.Sequential, Pack = 1)] struct Pack1 { public byte A; public long B; }
struct NestedPack1 { public byte A; public Pack1 X; public byte B; }
class NoLayout { public byte A; }
[StructLayout(LayoutKind.Sequential)] class ClassWithVector { public byte A; public AfterVector X; }
struct Empty { }
struct NestedEmpty { public Empty E; public int A; }

static class LibraryCorners
{
    [DllImport("libc", EntryPoint = "abs")] static extern int AbsAutomatic(Automatic x);
    [DllImport("libc", EntryPoint = "abs")] static extern Automatic ReturnAutomatic(int x);
    [DllImport("libc", EntryPoint = "abs")] static extern int AbsReference(ref Automatic x);

    static void Try(string name, Func<object> f) {
        try { Console.WriteLine($"{name}: {f()}"); }
        catch (Exception e) { Console.WriteLine($"{name}: {e.GetType().Name}: {e.Message}"); }
    }

    static void Size<T>() => Try(typeof(T).Name, () => {
        string s = Marshal.SizeOf<T>() + ":";
        foreach (var f in typeof(T).GetFields())
            s += $" {f.Name} {Marshal.OffsetOf<T>(f.Name)}";
        return s;
    });

    static int Main() {
        Size<AfterVector>();
        Size<Vector64Field>();
        Size<Vector256Field>();
        Size<Packed>();
        Size<Nested>();
        Size<Wide>();
        Size<NestedWide>();
        Size<Automatic>();
        Size<DecimalField>();
        Size<GuidField>();
        Size<Explicit>();
        Size<QuaternionField>();
        Size<Pack1>();
        Size<NestedPack1>();
        Size<NoLayout>();
        Size<ClassWithVector>();
        Size<Empty>();
        Size<NestedEmpty>();
        Try("parameter", () => AbsAutomatic(default));
        Try("result", () => ReturnAutomatic(1));
        Try("reference", () => { Automatic a = default; return AbsReference(ref a); });
        var ended = new Thread(() => { });
        ended.Start();
        ended.Join();
        Try("pool", () => ended.IsThreadPoolThread);
        Try("background", () => ended.IsBackground);
        Try("priority", () => ended.Priority);
        Try("no priority", () => ended.Priority = (ThreadPriority)77);
        Try("no priority here", () => Thread.CurrentThread.Priority = (ThreadPriority)(-1));
        return 100;
    }
}
