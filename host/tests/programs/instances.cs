using System;
using System.Collections.Generic;
using System.Linq;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.Serialization;
using System.IO;
static unsafe class P {
    // What can be instantiated, boxed, made an array of, and what is said if not
    static void T(string n, Func<object> f){ try { var o=f(); Console.WriteLine(n+" = "+S(o)); } catch(Exception e){ Console.WriteLine(n+" ! "+X(e)); } }
    static string X(Exception e){ var s=e.GetType().FullName+": "+e.Message.Replace("\n","\\n"); if(e.InnerException!=null) s+=" <- "+X(e.InnerException); return s; }
    static string S(object o){ switch(o){ case null: return "null"; case string s: return s.Replace("\r","\\r").Replace("\n","\\n"); case System.Collections.IDictionary d: return "{"+string.Join(",",d.Keys.Cast<object>().Select(k=>S(k)+":"+S(d[k])))+"}"; case System.Collections.IEnumerable e: return "["+string.Join(",",e.Cast<object>().Select(S))+"]"; case IFormattable f: return f.ToString(null,System.Globalization.CultureInfo.InvariantCulture); default: return o.ToString(); } }
    class G<T>{
        public static T F;
        public void M(){} }
    abstract class Ab<T>{}
    interface If<T>{}
    static class St{}
    class Pri{ private Pri(){} }
    class NoDef{
        public NoDef(int x){} }
    class Thr{
        public Thr(){ throw new InvalidOperationException("ctor"); } } struct SC{
        public int x;
        public SC(){x=7;} } struct GS<T>{
        public T v; }
    class CC{
        static CC(){ throw new Exception("cc"); }
        public static int x; }
    enum En{A} delegate void Dl();
    static int Main(){
        foreach(var t in new Type[]{typeof(Action),
            typeof(Dl),
            typeof(MulticastDelegate),
            typeof(Delegate),
            typeof(void),
            typeof(int).MakeByRefType(),
            typeof(int*),
            typeof(G<>),
            typeof(G<>).GetGenericArguments()[0],
            typeof(Ab<>),
            typeof(If<>),
            typeof(Ab<int>),
            typeof(If<int>),
            typeof(St),
            typeof(Pri),
            typeof(NoDef),
            typeof(Thr),
            typeof(SC),
            typeof(GS<>),
            typeof(GS<int>),
            typeof(int[]),
            typeof(int[,]),
            typeof(string),
            typeof(int?),
            typeof(Nullable<>),
            typeof(En),
            typeof(Enum),
            typeof(ValueType),
            typeof(object),
            typeof(Array),
            typeof(delegate*<void>),
            typeof(CC),
            typeof(Type),
            typeof(System.Threading.Thread),
            typeof(WeakReference),
            typeof(MarshalByRefObject),
            typeof(System.Exception),
            typeof(IntPtr),
            typeof(Guid),
            typeof(G<>).MakeGenericType(typeof(List<>)),
            typeof(StreamReader)}){
            T("uninit "+t,()=>RuntimeHelpers.GetUninitializedObject(t).GetType());
            T("fs "+t,()=>FormatterServices.GetUninitializedObject(t).GetType());
            T("ci "+t,()=>Activator.CreateInstance(t)?.GetType());
            T("ci np "+t,()=>Activator.CreateInstance(t,true)?.GetType());
            T("ci args "+t,()=>Activator.CreateInstance(t,new object[]{5})?.GetType());
            T("box",()=>{ byte b=0; return RuntimeHelpers.Box(ref b,t.TypeHandle)?.GetType(); });
            T("sizeof",()=>RuntimeHelpers.SizeOf(t.TypeHandle));
            T("arr",()=>Array.CreateInstance(t,1).GetType());
            T("arr2",()=>Array.CreateInstance(t,new[]{1,2},new[]{3,4}).GetType());
            T("mk",()=>t.MakeArrayType()+" "+t.MakeArrayType(1)+" "+t.MakePointerType());
            T("mkbr",()=>t.MakeByRefType());
            T("mkg",()=>typeof(G<>).MakeGenericType(t));
            T("cctor",()=>{RuntimeHelpers.RunClassConstructor(t.TypeHandle); return 1;});
            T("isref",()=>t.IsByRefLike+" "+t.IsValueType+" "+t.IsPrimitive+" "+Type.GetTypeCode(t)+" "+t.IsSZArray+" "+t.IsVariableBoundArray+" "+t.HasElementType+" "+t.IsConstructedGenericType+" "+t.ContainsGenericParameters+" "+t.IsTypeDefinition+" "+t.IsSerializable+" "+t.Attributes);
            T("null",()=>Nullable.GetUnderlyingType(t));
            T("cons",()=>t.GetConstructors(BindingFlags.Instance|BindingFlags.Public|BindingFlags.NonPublic).Length+" "+(t.TypeInitializer!=null));
            T("layout",()=>t.StructLayoutAttribute?.Value+" "+t.StructLayoutAttribute?.Pack+" "+t.StructLayoutAttribute?.Size);
            T("guid",()=>t.GUID==Guid.Empty);
            T("ifs",()=>t.GetInterfaces().Length);
            T("def",()=>t.IsEnum?Enum.GetUnderlyingType(t):null);
            T("assignable",()=>typeof(object).IsAssignableFrom(t)+" "+t.IsAssignableFrom(typeof(int))+" "+typeof(ValueType).IsAssignableFrom(t)+" "+t.IsInstanceOfType(5)); }
        T("ctor of Nullable",()=>typeof(int?).GetConstructor(new[]{typeof(int)}).Invoke(new object[]{5}).GetType()); AppDomain.CurrentDomain.ResourceResolve+=(s,e)=>{ Console.WriteLine("resolve "+e.Name+" for "+e.RequestingAssembly.GetName().Name); return null; };
        T("resource",()=>typeof(P).Assembly.GetManifestResourceStream("none"));
        T("resource of library",()=>typeof(object).Assembly.GetManifestResourceNames().Length>0);
        T("invoke open",()=>typeof(G<>).GetMethod("M").Invoke(null,null));
        T("field open",()=>typeof(G<>).GetField("F").GetValue(null));
        T("hash",()=>typeof(G<int>).GetField("F").GetValue(null));
        return 100; } }
