// Marshalling of strings, structures, arrays and delegates, both ways; the native side is managed code behind unmanaged
// function pointers that sees only blittable data.
using System;
using System.Linq;
using System.Reflection;
using System.Runtime.InteropServices;
[StructLayout(LayoutKind.Sequential)] struct Big { public string A; public long B; public double C; public bool D; public string E; }
[StructLayout(LayoutKind.Sequential)] struct Sm { public bool A; public char C; }
[StructLayout(LayoutKind.Sequential)] struct SmD { public double X; public bool A; }
[StructLayout(LayoutKind.Sequential)] struct Nested { public Sm S; [MarshalAs(UnmanagedType.ByValArray, SizeConst = 2)] public Sm[] Arr; public Big B; }
static unsafe class E {
  [DllImport("libc")] public static extern int abs(int x);
  [DllImport("libc")] static extern nuint strlen(string s);
  // the native side as managed functions over blittable data
  struct NBig { public byte* A; public long B; public double C; public int D; public byte* E; }
  struct NSm { public int A; public byte C; }
  struct NSmD { public double X; public int A; }
  struct NNested { public NSm S, A0, A1; public NBig B; }
  static int Len(byte* p) { int n = 0; if (p == null) return -1; while (p[n] != 0) n++; return n; }
  [UnmanagedCallersOnly] static double UBig(int a, NBig b, byte* s, NSm c, NSmD d, long e, long f, long g, NSmD h, double i) => a + Len(b.A) * 10 + b.B + b.C + b.D * 1000 + Len(b.E) * 10000 + Len(s) + c.A * 7 + c.C + d.X + d.A + e + f + g + h.X * 3 + h.A + i;
  [UnmanagedCallersOnly] static NSmD USmD(NSmD x) { x.X *= 2; x.A = x.A == 0 ? 9 : 0; return x; }
  [UnmanagedCallersOnly] static NSm USm(NSm x) { x.A = x.A == 0 ? 9 : 0; x.C++; return x; }
  [UnmanagedCallersOnly] static int UNest(NNested* n) { int r = n->S.A + n->A0.C + n->A1.A + Len(n->B.E); n->A1.C = (byte)'!'; n->B.B = 77; n->S.A = 0; return r; }
  [UnmanagedCallersOnly] static double Call(delegate* unmanaged<int, NBig, byte*, NSm, NSmD, long, long, long, NSmD, double, double> f, NBig* b) { byte x = 0; NSm s; s.A = 5; s.C = 66; NSmD d; d.X = 1.5; d.A = 1; return f(1, *b, &x, s, d, 2, 3, 4, d, 0.25); }
  [UnmanagedCallersOnly] static NBig CallBig(delegate* unmanaged<NBig, NBig> f, NBig b) => f(b);
  delegate double DBig(int a, Big b, string s, Sm c, SmD d, long e, long f, long g, SmD h, double i);
  delegate SmD DSmD(SmD x); delegate Sm DSm(Sm x); delegate int DNest(ref Nested n);
  delegate double DCall(DBig f, ref Big b);
  delegate Big DBB(Big b); delegate Big DCallBig(DBB f, Big b);
  delegate int Abs(int x);
  static T D<T>(void* p) where T : Delegate => Marshal.GetDelegateForFunctionPointer<T>((IntPtr)p);
  static string Try(Func<object> f) { try { return f()?.ToString() ?? "null"; } catch (Exception e) { return e.GetType().Name + ": " + e.Message.Split('\n')[0]; } }
  [StructLayout(LayoutKind.Sequential)] class Node { public int V; public IntPtr Next; }
  static void Main() {
    Console.WriteLine(typeof(E).GetMethod("abs").Invoke(null, new object[] { -4 }));
    Abs f = abs; Console.WriteLine($"{f(-9)} {f.Method.Name}");
    Func<string, nuint> g = strlen; Console.WriteLine(g("four"));
    Console.WriteLine(((delegate*<int, int>)&abs)(-3));
    var big = new Big { A = "one", B = 100, C = 0.5, D = true, E = null };
    Console.WriteLine(D<DBig>((delegate* unmanaged<int, NBig, byte*, NSm, NSmD, long, long, long, NSmD, double, double>)&UBig)(1, big, "héy", new Sm { A = true, C = 'A' }, new SmD { X = 2.5, A = true }, 3, 4, 5, new SmD { X = 7 }, 0.125));
    var sd = D<DSmD>((delegate* unmanaged<NSmD, NSmD>)&USmD)(new SmD { X = 4, A = false }); var sm = D<DSm>((delegate* unmanaged<NSm, NSm>)&USm)(new Sm { A = true, C = 'q' });
    Console.WriteLine($"{sd.X} {sd.A} {sm.A} {sm.C}");
    var n = new Nested { S = new Sm { A = true }, Arr = new[] { new Sm { C = 'c' }, new Sm { A = true } }, B = new Big { E = "eee" } };
    Console.WriteLine($"{D<DNest>((delegate* unmanaged<NNested*, int>)&UNest)(ref n)} {n.Arr[1].C} {n.B.B} {n.S.A} {n.B.E}");
    var heap = new Nested[3]; heap[1] = n; heap[1].S.A = true;
    Console.WriteLine($"{D<DNest>((delegate* unmanaged<NNested*, int>)&UNest)(ref heap[1])} {heap[1].S.A}");
    Console.WriteLine(D<DCall>((delegate* unmanaged<delegate* unmanaged<int, NBig, byte*, NSm, NSmD, long, long, long, NSmD, double, double>, NBig*, double>)&Call)((int a, Big b, string s, Sm c, SmD d, long e, long ff, long gg, SmD h, double i) => { GC.Collect(); Console.Write($"{a} {b.A} {b.B} {b.C} {b.D} {b.E == null} '{s}' {c.A} {c.C} {d.X} {d.A} {e} {ff} {gg} {h.X} {i} -> "); return a + i; }, ref big));
    Console.WriteLine(D<DCallBig>((delegate* unmanaged<delegate* unmanaged<NBig, NBig>, NBig, NBig>)&CallBig)(b => { b.A += "+"; b.E = "made"; b.D = false; return b; }, big) is var rb ? $"{rb.A} {rb.B} {rb.C} {rb.D} {rb.E}" : "");
    Console.WriteLine($"{Marshal.SizeOf<Nested>()} {Marshal.SizeOf<Node>()} {Marshal.SizeOf<Sm>()}");
    var node = new Node { V = 3 }; IntPtr p = Marshal.AllocHGlobal(16); Marshal.StructureToPtr(node, p, false); ((int*)p)[0]++; Marshal.PtrToStructure(p, node); Console.WriteLine(node.V); Marshal.FreeHGlobal(p);
    Console.WriteLine($"{Try(() => Marshal.OffsetOf(typeof(Nested), "Arr"))} {Try(() => Marshal.OffsetOf<Big>("E"))}");
    for (int i = 0; i < 3000; i++) { DSm cb = x => x; var q = (delegate* unmanaged<NSm, NSm>)Marshal.GetFunctionPointerForDelegate(cb); NSm z; z.A = i & 1; z.C = 65; if (q(z).A != (i & 1)) Console.WriteLine("bad"); GC.KeepAlive(cb); if (i % 500 == 0) GC.Collect(); }
    Console.WriteLine("end");
  }
}
