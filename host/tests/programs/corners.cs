// Corners found by comparing with CoreCLR: delegates over null, activation, waiting for monitors, arrays for native code.
using System; using System.Linq; using System.Collections.Generic; using System.Reflection; using System.Runtime.CompilerServices; using System.Runtime.InteropServices; using System.Text; using System.Threading;
unsafe static class P {
  class C { public virtual string V() => this == null ? "null" : "C.V"; }
  class D : C { public override string V() => "D.V"; }
  struct St { public int A; public void Inc() => A++; }
  interface IProtected { protected int Value() => 8; protected internal static int Both() => 9; }
  interface IUser : IProtected { int Sum() => Value() + Both(); }
  class User : IUser { public int Own() => IProtected.Both(); }
  struct Pair { public int A, B; }
  struct Wide { public Half H; public Int128 I; }
  static class G<T> { [MethodImpl(MethodImplOptions.NoInlining)] public static MethodBase Current<U>() => MethodBase.GetCurrentMethod(); }
  struct Pointers { public delegate* unmanaged[Cdecl, SuppressGCTransition]<int, void> F; }
  [DllImport("libc", EntryPoint = "memset")] static extern IntPtr Fill(Pair[] a, int v, nint n);
  [DllImport("libc", EntryPoint = "memset")] static extern IntPtr FillOut([In, Out] Pair[] a, int v, nint n);
  [DllImport("libc", EntryPoint = "memset")] static extern IntPtr FillInts(int[] a, int v, nint n);
  [DllImport("libc")] static extern nint strlen(char[] a);
  [DllImport("libc", EntryPoint = "abs")] static extern int Handle(SafeHandle h);
  [DllImport("libc", EntryPoint = "abs")] static extern int Critical(CriticalHandle h);
  static void T(string name, Func<object> f) {
    string text;
    try { text = f()?.ToString() ?? "null"; } catch (Exception e) { text = $"{e.GetType().Name}: {e.Message}"; }
    Console.WriteLine($"{name}: {text}");
  }
  static string Blocked(Action<object> enter) {
    string result = null; var o = new object();
    Monitor.Enter(o);
    var t = new Thread(() => { try { enter(o); result = "entered"; } catch (ThreadInterruptedException) { result = "interrupted"; } });
    t.Start();
    while (t.ThreadState != ThreadState.WaitSleepJoin) Thread.Sleep(1);
    t.Interrupt(); t.Join(); Monitor.Exit(o);
    return result;
  }
  [MethodImpl(MethodImplOptions.NoInlining)] static byte Load(byte* p) { try { return *p; } catch (NullReferenceException) { return 77; } }
  static byte[] Image(string version) {
    var a = new System.Reflection.Emit.PersistedAssemblyBuilder(new AssemblyName("Twice, Version=" + version), typeof(object).Assembly);
    a.DefineDynamicModule("Twice"); var s = new System.IO.MemoryStream(); a.Save(s);
    return s.ToArray();
  }
  static Assembly Load(System.Runtime.Loader.AssemblyLoadContext c, byte[] image) => c.LoadFromStream(new System.IO.MemoryStream(image));
  static int Main() {
    T("closed over null", () => ((Func<string>)Delegate.CreateDelegate(typeof(Func<string>), null, typeof(C).GetMethod("V")))());
    T("closed over null, struct", () => typeof(St).GetMethod("Inc").CreateDelegate(typeof(Action), null));
    T("virtual", () => ((Func<string>)Delegate.CreateDelegate(typeof(Func<string>), new D(), typeof(C).GetMethod("V")))());
    T("string", () => Activator.CreateInstance(typeof(string)));
    T("array", () => Activator.CreateInstance<int[]>());
    T("byref array", () => Array.CreateInstance(typeof(int).MakeByRefType(), 3));
    T("bounds", () => Array.CreateInstance(typeof(int), new[] { 2, 3 }, new[] { -1, int.MaxValue - 1 }));
    T("TypedReference", () => typeof(Action<>).MakeGenericType(typeof(TypedReference)));
    T("function pointers", () => typeof(delegate* unmanaged<int>) == typeof(delegate* unmanaged[Cdecl]<int>));
    T("conventions", () => string.Join(",", typeof(Pointers).GetField("F").GetModifiedFieldType().GetFunctionPointerCallingConventions().Select(t => t.Name)));
    T("current", () => $"{G<int>.Current<string>()} {G<string>.Current<int>().DeclaringType}");
    T("IL bytes", () => System.Runtime.JitInfo.GetCompiledILBytes() > 0);
    T("join", () => Thread.CurrentThread.Join(-5));
    T("negative", () => Monitor.TryEnter(new object(), -2));
    T("enter", () => Blocked(Monitor.Enter));
    T("try enter", () => Blocked(o => Monitor.TryEnter(o, 60000)));
    T("sizes", () => $"{Marshal.SizeOf<Wide>()} {Marshal.OffsetOf<Wide>("I")}");
    T("enum", () => { IntPtr p = Marshal.AllocHGlobal(8); try { Marshal.StructureToPtr(DayOfWeek.Friday, p, false); } finally { Marshal.FreeHGlobal(p); } return 0; });
    T("protected in interfaces", () => $"{((IUser)new User()).Sum()} {new User().Own()}");
    foreach (uint hr in new[] { 0x80004005, 0x80070002, 0x80070005, 0x80070006, 0x8007000B, 0x8013150A, 0x80131577, 0x80131509, 0x80000013 }) T($"{hr:x}", () => Marshal.GetExceptionForHR((int)hr));
    T("same name", () => { var c = new System.Runtime.Loader.AssemblyLoadContext("c"); byte[] one = Image("1.0.0.0"), two = Image("2.0.0.0"); return ReferenceEquals(Load(c, one), Load(c, one)) + Load(c, two).FullName; });
    var pairs = new Pair[2]; var ints = new int[2];
    Fill(pairs, 1, 16); Console.WriteLine($"in: {pairs[1].B:x}");
    FillOut(pairs, 1, 16); Console.WriteLine($"in, out: {pairs[1].B:x}");
    FillInts(ints, 1, 8); Console.WriteLine($"numbers: {ints[1]:x}");
    Console.WriteLine($"characters: {strlen("aé€\0".ToCharArray())}");
    T("no SafeHandle", () => Handle(null));
    T("no CriticalHandle", () => Critical(null));
    T("first page", () => $"{Load((byte*)0)} {Load((byte*)5)} {Load((byte*)4095)}");
    T("read", () => Marshal.ReadByte(0, 5));
    return 100;
  }
}
