using System;
using System.Collections.Generic;
using System.Linq;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Loader;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using System.IO;
[assembly: DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
// Search paths that resolvers see, signatures that are not marshalled, native sizes, GUIDs, addresses of open methods.
public static unsafe class P {
    static void T(string n, Func<object> f){ try { var o=f(); Console.WriteLine(n+" = "+S(o)); } catch(Exception e){ Console.WriteLine(n+" ! "+X(e)); } }
    static string X(Exception e){ var s=e.GetType().FullName+": "+e.Message.Replace("\n","\\n"); if(e.InnerException!=null) s+=" <- "+X(e.InnerException); return s; }
    static string S(object o){ switch(o){ case null: return "null"; case string s: return s.Replace("\r","\\r").Replace("\n","\\n"); case System.Collections.IDictionary d: return "{"+string.Join(",",d.Keys.Cast<object>().Select(k=>S(k)+":"+S(d[k])))+"}"; case System.Collections.IEnumerable e: return "["+string.Join(",",e.Cast<object>().Select(S))+"]"; case IFormattable f: return f.ToString(null,System.Globalization.CultureInfo.InvariantCulture); default: return o.ToString(); } }
    [DllImport("qq1")] static extern int A(); [DllImport("qq2"),DefaultDllImportSearchPaths(DllImportSearchPath.AssemblyDirectory|DllImportSearchPath.System32)] static extern int B();
    static class Q { [DllImport("qq3")] public static extern int C(); }
    static class R { [DllImport("qq4")] public static extern int D(); }
    [DllImport("libc",EntryPoint="abs")] static extern int V1(Vector128<int> v); [DllImport("libc",EntryPoint="abs")] static extern Vector128<int> V2(); [DllImport("libc",EntryPoint="abs")] static extern int V3(Vector64<int> v); [DllImport("libc",EntryPoint="abs")] static extern int V4(Vector256<int> v); [DllImport("libc",EntryPoint="abs")] static extern int V5(System.Numerics.Vector<int> v); [DllImport("libc",EntryPoint="abs")] static extern int V6(Vector128<int>* v); [DllImport("libc",EntryPoint="abs")] static extern int V7(System.Numerics.Vector4 v); [DllImport("libc",EntryPoint="abs")] static extern int V8(Int128 v); [DllImport("libc",EntryPoint="abs")] static extern int V9(List<int> v); [DllImport("libc",EntryPoint="abs")] static extern int V10(int? v); [DllImport("libc",EntryPoint="abs")] static extern int V11(object v); [DllImport("libc",EntryPoint="abs")] static extern int V12((int,int) v); [DllImport("libc",EntryPoint="abs")] static extern int V13(SV v); [DllImport("libc",EntryPoint="abs")] static extern int V14(Guid v); [DllImport("libc",EntryPoint="abs")] static extern int V15(DateTime v); [DllImport("libc",EntryPoint="abs")] static extern int V16(decimal v); [DllImport("libc",EntryPoint="abs")] static extern int V17(ref Vector128<int> v); [DllImport("libc",EntryPoint="abs")] static extern int V18(SG<int> v); [DllImport("libc",EntryPoint="abs")] static extern int V19(Span<int> v); [DllImport("libc",EntryPoint="abs")] static extern int V20(Delegate v); [DllImport("libc",EntryPoint="abs")] static extern int V21(int[,] v); [DllImport("libc",EntryPoint="abs")] static extern int V22(int[][] v); [DllImport("libc",EntryPoint="abs")] static extern int V23(Half v); [DllImport("libc",EntryPoint="abs")] static extern int V24(Exception v);
    struct SV {
        public Vector128<int> v; } struct SG<T>{
        public T t; } struct Emp{} struct Ob{
        public object o; } struct Str{
        public string s; }
    class Cl{
        public int a; } [StructLayout(LayoutKind.Sequential)] class Sq{
        public int a;
        public string b; } [StructLayout(LayoutKind.Auto)] struct Au{
        public int a; }
    enum En:short{A} delegate int Dl(int x);
    abstract class Ab{} struct Arr{ [MarshalAs(UnmanagedType.ByValArray,SizeConst=3)] public int[] a; [MarshalAs(UnmanagedType.ByValTStr,SizeConst=5)] public string s;
        public bool b;
        public char c; } struct BadArr{
        public int[] a; } struct Cyc{
        public Sq s; } [Guid("11111111-2222-3333-4444-555555555555")] class Gd{}
    interface If{}
    class Gen<T>{}
    static int Main(){
        NativeLibrary.SetDllImportResolver(typeof(P).Assembly,(n,a,s)=>{ Console.WriteLine($"resolve {n} {a.GetName().Name} {s?.ToString()??"null"}"); return 0; });
        foreach(var f in new Func<object>[]{()=>A(),()=>B(),()=>Q.C(),()=>R.D(),()=>NativeLibrary.TryLoad("qq5",
            typeof(P).Assembly,null,out _),()=>NativeLibrary.Load("qq6",
            typeof(P).Assembly,DllImportSearchPath.System32),()=>NativeLibrary.Load("/nonexist/qq7.so")}) try { Console.WriteLine(f()); } catch(DllNotFoundException e){ Console.WriteLine(e.Message.Split(" ")[4]); }
        T("V1",()=>V1(default));
        T("V2",()=>V2());
        T("V3",()=>V3(default));
        T("V4",()=>V4(default));
        T("V5",()=>V5(default));
        T("V6",()=>V6(null));  T("V8",()=>V8(default));
        T("V9",()=>V9(null));
        T("V10",()=>V10(null));
        T("V11",()=>V11(null));
        T("V12",()=>V12(default));  T("V14",()=>V14(default)*0);  
        T("V17",()=>{ Vector128<int> v=default; return V17(ref v)*0; });
        T("V18",()=>V18(default)*0);
        T("V19",()=>V19(default));
        T("V20",()=>V20(null));
        T("V21",()=>V21(null));
        T("V22",()=>V22(null));
        
        T("V24",()=>V24(null));
        foreach(var t in new[]{typeof(Enum),
            typeof(En),
            typeof(ValueType),
            typeof(object),
            typeof(string),
            typeof(int),
            typeof(bool),
            typeof(char),
            typeof(decimal),
            typeof(DateTime),
            typeof(Guid),
            typeof(DateTimeOffset),
            typeof(TimeSpan),
            typeof(int?),
            typeof(Emp),
            typeof(Ob),
            typeof(Str),
            typeof(Cl),
            typeof(Sq),
            typeof(Au),
            typeof(Dl),
            typeof(Ab),
            typeof(Arr),
            typeof(BadArr),
            typeof(Cyc),
            typeof(SG<int>),
            typeof(SG<>),
            
            typeof(int[]),
            typeof(Vector128<int>),
            typeof(Int128),
            typeof(Half),
            typeof(nint),
            typeof(Array),
            typeof(Delegate),
            typeof(HandleRef),
            typeof(GCHandle),
            typeof(SafeHandle),
            typeof(System.Text.StringBuilder),
            typeof(Type),
            typeof(Exception),
            typeof(CriticalHandle),
            typeof(KeyValuePair<int,int>),
            typeof((int,byte)),
            typeof(Gen<int>),
            typeof(System.Numerics.Vector3),
            typeof(System.Drawing.Point),
            typeof(System.Drawing.Color)}) { T("size "+t,()=>Marshal.SizeOf(t));
            T("guid "+t,()=>t.GUID);
            T("tlb",()=>Marshal.GenerateGuidForType(t)==t.GUID);
            T("offs "+t,()=>Marshal.OffsetOf(t,t.GetFields(BindingFlags.Instance|BindingFlags.Public|BindingFlags.NonPublic).FirstOrDefault()?.Name??"none"));
            T("ptos",()=>{ var p=Marshal.AllocHGlobal(256); for(int i=0;i<256;i++) Marshal.WriteByte(p,i,0); try { return Marshal.PtrToStructure(p,t)?.GetType(); } finally { Marshal.FreeHGlobal(p); } }); if(t.IsValueType) T("destroy",()=>{ var p=Marshal.AllocHGlobal(256); for(int i=0;i<256;i++) Marshal.WriteByte(p,i,0); Marshal.DestroyStructure(p,t); return 1; }); if(!typeof(Delegate).IsAssignableFrom(t)) T("fp",()=>Marshal.GetDelegateForFunctionPointer((IntPtr)1,t)!=null); }
        T("gd",()=>typeof(Gd).GUID);
        T("gfp",()=>typeof(Gen<>).GetConstructor(Type.EmptyTypes).MethodHandle.GetFunctionPointer()!=0);
        T("gfp2",()=>typeof(P).GetMethod("GM").MethodHandle.GetFunctionPointer()!=0);
        T("gfp3",()=>typeof(P).GetMethod("GM").MakeGenericMethod(typeof(int)).MethodHandle.GetFunctionPointer()!=0);
        T("gfp4",()=>typeof(Ab2).GetMethod("M").MethodHandle.GetFunctionPointer()!=0);
        T("gfp5",()=>typeof(If2).GetMethod("M").MethodHandle.GetFunctionPointer()!=0);
        T("gfp6",()=>typeof(P).GetMethod("A",BindingFlags.NonPublic|BindingFlags.Static).MethodHandle.GetFunctionPointer()!=0);
        T("gfp7",()=>typeof(Dl).GetMethod("Invoke").MethodHandle.GetFunctionPointer()!=0);
        T("prep",()=>{ RuntimeHelpers.PrepareMethod(typeof(P).GetMethod("GM").MethodHandle); return 1; });
        T("prep2",()=>{ RuntimeHelpers.PrepareMethod(typeof(P).GetMethod("GM").MethodHandle,new[]{typeof(int).TypeHandle}); return 1; });
        T("prep3",()=>{ RuntimeHelpers.PrepareMethod(typeof(Ab2).GetMethod("M").MethodHandle); return 1; });
        T("prep4",()=>{ RuntimeHelpers.PrepareMethod(default); return 1; });
        T("prepd",()=>{ RuntimeHelpers.PrepareDelegate(new Dl(x=>x)); return 1; });
        return 100; }
    public static void GM<T>(){}
    abstract class Ab2{
        public abstract void M(); }
    interface If2{ void M(); }
}
