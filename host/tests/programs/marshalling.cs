// Native forms of structures, arguments and callbacks; sizes, offsets, errors.
using System; using System.Text; using System.Runtime.InteropServices; using System.Runtime.CompilerServices; using System.Linq; using static H;
[StructLayout(LayoutKind.Sequential)] struct Cur { public int A; [MarshalAs(UnmanagedType.Currency)] public decimal D; public int B; }
[StructLayout(LayoutKind.Sequential)] struct Strs { [MarshalAs(UnmanagedType.LPStr)] public string A; [MarshalAs(UnmanagedType.LPWStr)] public string W; [MarshalAs(UnmanagedType.LPUTF8Str)] public string U; public string Def; }
[StructLayout(LayoutKind.Sequential, CharSet = CharSet.Unicode)] struct ByVal { [MarshalAs(UnmanagedType.ByValTStr, SizeConst = 6)] public string S; public char C; [MarshalAs(UnmanagedType.ByValArray, SizeConst = 3)] public short[] V; }
[StructLayout(LayoutKind.Sequential, CharSet = CharSet.Ansi)] struct ByValA { [MarshalAs(UnmanagedType.ByValTStr, SizeConst = 6)] public string S; public char C; [MarshalAs(UnmanagedType.ByValArray, SizeConst = 3)] public int[] V; }
[StructLayout(LayoutKind.Sequential)] struct Bools { public bool A; [MarshalAs(UnmanagedType.U1)] public bool B; [MarshalAs(UnmanagedType.I1)] public bool C; [MarshalAs(UnmanagedType.VariantBool)] public bool D; [MarshalAs(UnmanagedType.Bool)] public bool E; }
[StructLayout(LayoutKind.Sequential)] struct Deleg { public Func0 F; public int X; }
[StructLayout(LayoutKind.Sequential)] class Cls { public int A; public string S; public double D; }
[StructLayout(LayoutKind.Sequential)] class ClsBase { public int A; }
[StructLayout(LayoutKind.Sequential)] class ClsDer : ClsBase { public byte B; public long C; }
[StructLayout(LayoutKind.Sequential, Pack = 1)] struct Pk { public byte A; public int B; public double C; }
[StructLayout(LayoutKind.Sequential, Pack = 2, Size = 40)] struct Pk2 { public byte A; public int B; public double C; public Guid G; public DateTime T; public decimal M; }
[StructLayout(LayoutKind.Explicit)] struct Ex { [FieldOffset(0)] public int A; [FieldOffset(2)] public short B; [FieldOffset(8)] public string S; [FieldOffset(16)] [MarshalAs(UnmanagedType.ByValArray, SizeConst = 4)] public byte[] V; }
struct Nest { public Bools B; public Strs S; public Pk P; [MarshalAs(UnmanagedType.ByValArray, SizeConst = 2)] public Pk[] Ps; }
[StructLayout(LayoutKind.Auto)] struct AutoS { public int A; public byte B; }
struct ObjF { public object O; }
struct ArrF { public int[] A; }
struct ArrF2 { public ArraySegment<int> A; }
struct Gen<T> { public T A; public byte B; }
struct DT { public DateTime D; public Guid G; public DateTimeOffset O; public decimal M; }
unsafe struct Fix { public fixed char C[4]; public fixed bool B[3]; public char X; public void* P; public delegate*<int, int> F; public nint N; }
delegate int Func0();
[UnmanagedFunctionPointer(CallingConvention.Cdecl)] delegate int SbFn(StringBuilder sb);
[UnmanagedFunctionPointer(CallingConvention.Cdecl)] delegate int StrFn(string a, [MarshalAs(UnmanagedType.LPWStr)] string b);
delegate bool BoolFn(bool a, [MarshalAs(UnmanagedType.U1)] bool b);
[return: MarshalAs(UnmanagedType.LPUTF8Str)] delegate string StrRet(ref string s);
delegate void CurFn([MarshalAs(UnmanagedType.Currency)] decimal d, out long r);
delegate int ArrFn([MarshalAs(UnmanagedType.LPArray, SizeParamIndex = 1)] int[] a, int n);
delegate int ClsFn([In, Out] Cls c);
delegate int ByValFn(ByVal v, ref ByVal w);
delegate char ChFn(char c, [MarshalAs(UnmanagedType.U2)] char d);
[UnmanagedFunctionPointer(CallingConvention.Cdecl, CharSet = CharSet.Unicode)] delegate char ChWFn(char c, string s, StringBuilder sb);
delegate int GuidFn(Guid g, ref Guid h, in decimal d);
delegate int ObjFn(object o);
delegate Func0 DelDel(Func0 f);
unsafe static class P {
  [UnmanagedCallersOnly] static int SbNative(byte* p) { int n = 0; while (p[n] != 0) n++; for (int i = 0; i < n; i++) p[i] = (byte)(p[i] + 1); p[n] = (byte)'!'; p[n + 1] = 0; return n; }
  [UnmanagedCallersOnly] static int StrNative(byte* a, char* b) { int n = 0; while (a[n] != 0) n++; int m = 0; while (b[m] != 0) m++; return n * 100 + m; }
  [UnmanagedCallersOnly] static int BoolNative(int a, byte b) => (a * 1000 + b) ;
  [UnmanagedCallersOnly] static void CurNative(long c, long* r) => *r = c;
  [UnmanagedCallersOnly] static int ArrNative(int* a, int n) { int s = 0; for (int i = 0; i < n; i++) { s += a[i]; a[i] = -1; } return s; }
  [UnmanagedCallersOnly] static int ClsNative(byte* p) { int a = *(int*)p; *(int*)p = a * 2; *(double*)(p + 16) = 2.5; return a; }
  [UnmanagedCallersOnly] static ushort ChNative(byte a, ushort b) => (ushort)(a + 1);
  static int Zero() => 42;
  static string Bytes(void* p, int n) => Convert.ToHexString(new ReadOnlySpan<byte>(p, n));
  static T Rt<T>(T v, out string hex, int mask = 0) { int n = Marshal.SizeOf<T>(); IntPtr p = Marshal.AllocHGlobal(n); new Span<byte>((void*)p, n).Fill(0xcc); try { Marshal.StructureToPtr(v, p, false); hex = Bytes((void*)p, n); var r = Marshal.PtrToStructure<T>(p); Marshal.DestroyStructure<T>(p); return r; } finally { Marshal.FreeHGlobal(p); } }
  static int Main() {
    T("sizes", () => new object[] { Marshal.SizeOf<Cur>(), Marshal.SizeOf<Strs>(), Marshal.SizeOf<ByVal>(), Marshal.SizeOf<ByValA>(), Marshal.SizeOf<Bools>(), Marshal.SizeOf<Deleg>(), Marshal.SizeOf<Cls>(), Marshal.SizeOf<ClsDer>(), Marshal.SizeOf<Pk>(), Marshal.SizeOf<Pk2>(), Marshal.SizeOf<Ex>(), Marshal.SizeOf<Nest>(), Marshal.SizeOf<Fix>() });
    T("dt", () => Marshal.SizeOf<DT>());
    T("dtmarshal", () => { var d = new DT { D = new DateTime(2020, 1, 2, 3, 4, 5), M = 1.5m, G = new Guid(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11) }; var r = Rt(d, out var h); return r.D + " " + r.M + " " + h; });
    T("auto", () => Marshal.SizeOf<AutoS>()); T("objf", () => Marshal.SizeOf<ObjF>()); T("arrf", () => Marshal.SizeOf<ArrF>()); T("arrseg", () => Marshal.SizeOf<ArrF2>()); T("gen", () => Marshal.SizeOf(new Gen<int>())); T("gen2", () => Marshal.SizeOf(typeof(Gen<int>))); T("gen3", () => Marshal.SizeOf<Gen<string>>()); T("gen4", () => Marshal.SizeOf(typeof(Gen<>)));
    T("seg", () => Marshal.SizeOf<ArraySegment<int>>()); T("kv", () => Marshal.SizeOf<System.Collections.Generic.KeyValuePair<int,int>>()); T("nullable", () => Marshal.SizeOf<int?>()); T("ts", () => Marshal.SizeOf<TimeSpan>()); T("dtt", () => Marshal.SizeOf<DateTime>()); T("int", () => Marshal.SizeOf<int>() + Marshal.SizeOf<char>() * 10 + Marshal.SizeOf<bool>() * 100); T("str", () => Marshal.SizeOf<string>()); T("strv", () => Marshal.SizeOf("abc")); T("arr", () => Marshal.SizeOf(new int[3])); T("enum", () => Marshal.SizeOf(typeof(DayOfWeek))); T("enumv", () => Marshal.SizeOf(DayOfWeek.Friday)); T("del", () => Marshal.SizeOf<Func0>()); T("i128", () => Marshal.SizeOf<Int128>()); T("dec", () => Marshal.SizeOf<decimal>()); T("half", () => Marshal.SizeOf<Half>()); T("ptr", () => Marshal.SizeOf(typeof(int*))); T("null", () => Marshal.SizeOf((Type)null)); T("vec", () => Marshal.SizeOf<System.Runtime.Intrinsics.Vector128<int>>()); T("vt", () => Marshal.SizeOf<ValueTuple<int,byte>>()); T("span", () => Marshal.SizeOf(typeof(Span<int>)));
    T("offs", () => new[] { "A", "B", "C", "D", "E" }.Select(f => (object)(long)Marshal.OffsetOf<Bools>(f))); T("offs2", () => new[] { "A", "B", "C", "G", "T", "M" }.Select(f => (object)(long)Marshal.OffsetOf<Pk2>(f))); T("offs3", () => (long)Marshal.OffsetOf<Ex>("V")); T("offs4", () => (long)Marshal.OffsetOf<Ex>("Q")); T("offs5", () => (long)Marshal.OffsetOf<ClsDer>("C")); T("offs6", () => (long)Marshal.OffsetOf<Nest>("Ps")); T("offs7", () => (long)Marshal.OffsetOf<AutoS>("A"));
    T("cur", () => { var r = Rt(new Cur { A = 1, D = 12.3456m, B = 2 }, out var h); return r.D + " " + r.B + " " + h; });
    T("curneg", () => { var r = Rt(new Cur { A = 1, D = -0.00005m, B = 2 }, out var h); return r.D + " " + h; });
    T("curround", () => { var r = Rt(new Cur { A = 1, D = 1.00015m, B = 2 }, out var h); return r.D + " " + h; });
    T("curbig", () => { var r = Rt(new Cur { A = 1, D = 1e20m, B = 2 }, out var h); return r.D + " " + h; });
    T("strs", () => { var r = Rt(new Strs { A = "aé", W = "wé", U = "uéΩ", Def = "def" }, out _); return r.A + r.W + r.U + r.Def; });
    T("byval", () => { var r = Rt(new ByVal { S = "abcdefgh", C = 'Ω', V = new short[] { 1, 2, 3 } }, out var h); return r.S + r.C + r.V.Length + r.V[2] + h; });
    T("byvalA", () => { var r = Rt(new ByValA { S = "abé", C = 'x', V = new int[] { 1, 2, 3, 4 } }, out var h); return r.S + r.C + r.V.Length + r.V[2] + h; });
    T("byvalAnull", () => { var r = Rt(new ByValA { S = null, C = 'x', V = null }, out var h); return (r.S ?? "NULL") + r.C + (r.V?.Length ?? -1) + h; });
    T("byvalAshort", () => { var r = Rt(new ByValA { S = "", C = 'x', V = new int[2] }, out var h); return r.V.Length; });
    T("bools", () => { var r = Rt(new Bools { A = true, B = true, C = true, D = true, E = true }, out var h); return h + r.D; });
    T("cls", () => { var r = Rt(new Cls { A = 1, S = "s", D = 2.5 }, out var h); return r.A + r.S + r.D; });
    T("clsder", () => { var r = Rt(new ClsDer { A = 1, B = 2, C = 3 }, out var h); return h.Replace("CC", "..") + r.C; });
    T("pk2", () => { var r = Rt(new Pk2 { A = 1, B = 2, C = 3, M = 4.5m, T = new DateTime(2000, 1, 1) }, out var h); return r.M + h; });
    T("ex", () => { var r = Rt(new Ex { A = 0x01020304, S = "q", V = new byte[] { 9, 8, 7, 6 } }, out var h); return r.S + r.B + r.V[3]; });
    T("nest", () => { var r = Rt(new Nest { B = { A = true }, S = { A = "x" }, P = { B = 3 }, Ps = new Pk[2] { new Pk { B = 1 }, new Pk { B = 7 } } }, out var h); return r.B.A + r.S.A + r.P.B + r.Ps[1].B; });
    T("objm", () => { Rt(new ObjF { O = 1 }, out var h); return h; }); T("arrm", () => { Rt(new ArrF { A = new int[1] }, out var h); return h; });
    T("gen-m", () => { Rt(new Gen<int> { A = 1 }, out var h); return h; });
    T("deleg", () => { var r = Rt(new Deleg { F = Zero, X = 3 }, out var h); return r.F() + r.X; });
    T("sb", () => { var f = Marshal.GetDelegateForFunctionPointer<SbFn>((IntPtr)(delegate* unmanaged<byte*, int>)&SbNative); var sb = new StringBuilder("HAL", 16); int n = f(sb); return n + sb.ToString() + sb.Capacity; });
    T("sbnull", () => { var f = Marshal.GetDelegateForFunctionPointer<StrFn>((IntPtr)(delegate* unmanaged<byte*, char*, int>)&StrNative); return f("hé", "wx"); });
    T("bool", () => { var f = Marshal.GetDelegateForFunctionPointer<BoolFn>((IntPtr)(delegate* unmanaged<int, byte, int>)&BoolNative); return f(true, true) + "" + f(false, false) + f(false, true); });
    T("curarg", () => { var f = Marshal.GetDelegateForFunctionPointer<CurFn>((IntPtr)(delegate* unmanaged<long, long*, void>)&CurNative); f(1.25m, out long r); return r; });
    T("arr", () => { var f = Marshal.GetDelegateForFunctionPointer<ArrFn>((IntPtr)(delegate* unmanaged<int*, int, int>)&ArrNative); var a = new[] { 1, 2, 3 }; return f(a, 3) + " " + string.Join(",", a); });
    T("clsarg", () => { var f = Marshal.GetDelegateForFunctionPointer<ClsFn>((IntPtr)(delegate* unmanaged<byte*, int>)&ClsNative); var c = new Cls { A = 5, S = "k" }; return f(c) + " " + c.A + c.S + c.D; });
    T("char", () => { var f = Marshal.GetDelegateForFunctionPointer<ChFn>((IntPtr)(delegate* unmanaged<byte, ushort, ushort>)&ChNative); return f('a', 'b') + ""; });
    // reverse: managed delegates as native pointers
    T("rsb", () => { SbFn f = sb => { sb.Append("xyz"); return sb.Length; }; var p = (delegate* unmanaged<byte*, int>)Marshal.GetFunctionPointerForDelegate(f); byte* b = stackalloc byte[16]; b[0] = 65; b[1] = 66; b[2] = 0; int r = p(b); GC.KeepAlive(f); return r + " " + Bytes(b, 6); });
    T("rstr", () => { StrFn f = (a, b) => (a + "|" + b).Length; var p = (delegate* unmanaged<byte*, char*, int>)Marshal.GetFunctionPointerForDelegate(f); byte* a = stackalloc byte[] { 65, 66, 0 }; char* w = stackalloc char[] { 'x', 'y', 'z', '\0' }; int r = p(a, w); int r2 = p(null, w); GC.KeepAlive(f); return r + " " + r2; });
    T("rret", () => { StrRet f = (ref string s) => { s = s + "é"; return s.ToUpperInvariant(); }; var p = (delegate* unmanaged<byte**, byte*>)Marshal.GetFunctionPointerForDelegate(f); byte* q = (byte*)Marshal.StringToCoTaskMemUTF8("abc"); byte* r = p(&q); string a = Marshal.PtrToStringUTF8((IntPtr)r), b = Marshal.PtrToStringUTF8((IntPtr)q); GC.KeepAlive(f); return a + b; });
    T("rcur", () => { CurFn f = (decimal d, out long r) => r = (long)(d * 10000) + 1; var p = (delegate* unmanaged<long, long*, void>)Marshal.GetFunctionPointerForDelegate(f); long o; p(12345, &o); GC.KeepAlive(f); return o; });
    T("rarr", () => { ArrFn f = (a, n) => { int s = a.Sum() + n * 1000 + a.Length * 100; a[0] = 77; return s; }; var p = (delegate* unmanaged<int*, int, int>)Marshal.GetFunctionPointerForDelegate(f); int* x = stackalloc int[] { 1, 2, 3 }; int r = p(x, 3); GC.KeepAlive(f); return r + " " + x[0]; });
    T("rcls", () => { ClsFn f = c => { c.A++; c.D = 8; return c.S.Length; }; var p = (delegate* unmanaged<byte*, int>)Marshal.GetFunctionPointerForDelegate(f); byte* x = stackalloc byte[24]; *(int*)x = 4; *(IntPtr*)(x + 8) = Marshal.StringToCoTaskMemUTF8("hello"); int r = p(x); GC.KeepAlive(f); return r + " " + *(int*)x + " " + *(double*)(x + 16); });
    T("rbyval", () => { ByValFn f = (ByVal v, ref ByVal w) => { w.S = v.S + "z"; w.V[1] = 9; return v.V[0]; }; var p = (delegate* unmanaged<Blob20, byte*, int>)Marshal.GetFunctionPointerForDelegate(f); Blob20 b = default; b.B[0] = (byte)'k'; b.B[14] = 5; byte* w = stackalloc byte[20]; int r = p(b, w); GC.KeepAlive(f); return r + Bytes(w, 20); });
    T("rbool", () => { BoolFn f = (a, b) => a != b; var p = (delegate* unmanaged<int, byte, int>)Marshal.GetFunctionPointerForDelegate(f); int r = p(7, 0) * 10 + p(256, 3); GC.KeepAlive(f); return r; });
    T("rchw", () => { ChWFn f = (c, s, sb) => { sb.Append(s).Append(c); return 'Ω'; }; var p = (delegate* unmanaged<char, char*, char*, char>)Marshal.GetFunctionPointerForDelegate(f); char* s = stackalloc char[] { 'a', 'b', '\0' }; char* sb = stackalloc char[16]; sb[0] = '>'; sb[1] = '\0'; char r = p('q', s, sb); GC.KeepAlive(f); return r + new string(sb); });
    T("rguid", () => { GuidFn f = (Guid g, ref Guid h, in decimal d) => { h = g; return (int)d; }; var p = (delegate* unmanaged<Guid, Guid*, decimal*, int>)Marshal.GetFunctionPointerForDelegate(f); Guid g = new Guid(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11), h = default; decimal d = 33.3m; int r = p(g, &h, &d); GC.KeepAlive(f); return r + " " + h; });
    T("deldel", () => { DelDel f = g => { int k = g(); return () => k + 1; }; var p = (delegate* unmanaged<IntPtr, IntPtr>)Marshal.GetFunctionPointerForDelegate(f); Func0 z = Zero; IntPtr r = p(Marshal.GetFunctionPointerForDelegate(z)); int v = ((delegate* unmanaged<int>)r)(); GC.KeepAlive(f); GC.KeepAlive(z); return v; });
    T("genericdel", () => Marshal.GetFunctionPointerForDelegate((Func<int>)Zero)); T("genericdel2", () => Marshal.GetDelegateForFunctionPointer((IntPtr)1, typeof(Func<int>))); T("notdel", () => Marshal.GetDelegateForFunctionPointer((IntPtr)1, typeof(string))); T("zerop", () => Marshal.GetDelegateForFunctionPointer(IntPtr.Zero, typeof(Func0))); T("nulld", () => Marshal.GetFunctionPointerForDelegate((Func0)null)); T("nullptr", () => Marshal.PtrToStructure<Cur>(IntPtr.Zero)); T("nullptr2", () => Marshal.PtrToStructure<Cls>(IntPtr.Zero)); T("same", () => { Func0 f = Zero; IntPtr p = Marshal.GetFunctionPointerForDelegate(f); return Marshal.GetFunctionPointerForDelegate(f) == p && (object)Marshal.GetDelegateForFunctionPointer<Func0>(p) == (object)f; }); T("othertype", () => { Func0 f = Zero; IntPtr p = Marshal.GetFunctionPointerForDelegate(f); return Marshal.GetDelegateForFunctionPointer<SbFn>(p); });
    T("ptstr", () => { IntPtr p = Marshal.StringToHGlobalAnsi("aΩb"); var s = Marshal.PtrToStringAnsi(p, 2); Marshal.FreeHGlobal(p); p = Marshal.StringToBSTR("bstr\0x"); s += Marshal.PtrToStringBSTR(p).Length; Marshal.FreeBSTR(p); p = Marshal.StringToCoTaskMemUni("uni"); s += Marshal.PtrToStringUni(p) + Marshal.PtrToStringAuto(p); Marshal.FreeCoTaskMem(p); return s; });
    T("copy", () => { IntPtr p = Marshal.AllocCoTaskMem(64); Marshal.Copy(new[] { 1.5, 2.5 }, 0, p, 2); var d = new double[2]; Marshal.Copy(p, d, 0, 2); Marshal.WriteInt16(p, 3, 7); Marshal.WriteByte(p, 'x' > 1 ? (byte)3 : (byte)0); var r = d[1] + Marshal.ReadInt16(p, 3) + Marshal.ReadByte(p); Marshal.FreeCoTaskMem(p); return r; }); T("copybad", () => { Marshal.Copy(new int[2], 1, (IntPtr)1000, 5); return 0; }); T("readbad", () => Marshal.ReadInt32((IntPtr)0)); 
    T("lasterr", () => { Marshal.SetLastPInvokeError(5); Marshal.SetLastSystemError(2); return Marshal.GetLastPInvokeError() + " " + Marshal.GetLastWin32Error() + Marshal.GetLastSystemError() + Marshal.GetPInvokeErrorMessage(2); });
    T("hr", () => Marshal.GetExceptionForHR(unchecked((int)0x80070005)).GetType().Name + Marshal.GetExceptionForHR(unchecked((int)0x80004003)).GetType().Name + (Marshal.GetExceptionForHR(0) == null) + Marshal.GetHRForException(new ArgumentException("x")).ToString("x")); T("throwhr", () => { Marshal.ThrowExceptionForHR(unchecked((int)0x8007000e)); return 0; });
    T("unsafeaddr", () => { var a = new int[] { 1, 2, 3 }; fixed (int* p = a) return (long)Marshal.UnsafeAddrOfPinnedArrayElement(a, 2) - (long)p; }); T("isCom", () => Marshal.IsComObject("x") + "" + Marshal.AreComObjectsAvailableForCleanup()); T("prelink", () => { Marshal.PrelinkAll(typeof(P)); return 1; }); T("gcan", () => { var g = GCHandle.Alloc(new ObjF(), GCHandleType.Pinned); return 0; }); T("gcan2", () => { var g = GCHandle.Alloc(new Bools(), GCHandleType.Pinned); g.Free(); return 0; }); T("gcan3", () => { var g = GCHandle.Alloc("str", GCHandleType.Pinned); var r = *(char*)g.AddrOfPinnedObject(); g.Free(); return r; }); T("gcan4", () => GCHandle.Alloc(new Pk[2], GCHandleType.Pinned).IsAllocated); T("gcan5", () => GCHandle.Alloc(new Bools[2], GCHandleType.Pinned).IsAllocated); T("gcan6", () => GCHandle.Alloc(new string[2], GCHandleType.Pinned).IsAllocated); T("gcan7", () => { GCHandle h = default; h.Free(); return 1; }); T("gcan8", () => GCHandle.Alloc(1, (GCHandleType)9)); T("gcan9", () => GCHandle.Alloc(new object()).AddrOfPinnedObject());
    return 100;
  }
}
unsafe struct Blob20 { public fixed byte B[20]; }
static class H {
  public static void T(string n, Func<object> f) { try { Console.WriteLine(n + ": " + S(f())); } catch (Exception e) { Console.WriteLine(n + "! " + D(e)); } }
  public static void A(string n, Action f) { T(n, () => { f(); return "ok"; }); }
  public static string D(Exception e) { string s = e.GetType().FullName + ": " + e.Message.Replace("\n", "|"); if (e is System.Reflection.ReflectionTypeLoadException r) foreach (var x in r.LoaderExceptions) s += "{" + x?.Message + "}"; return e.InnerException == null ? s : s + " <- " + D(e.InnerException); }
  public static string S(object o) { if (o == null) return "null"; if (o is string s) return s; if (o is System.Collections.IEnumerable e) { var l = new System.Collections.Generic.List<string>(); foreach (var x in e) l.Add(S(x)); return "[" + string.Join(", ", l) + "]"; } return Convert.ToString(o, System.Globalization.CultureInfo.InvariantCulture); }
}
