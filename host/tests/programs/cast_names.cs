using System; using System.Collections.Generic; using System.Runtime.CompilerServices;
namespace A.B { public class Out { public class In { public class In2<T> {} } public struct Sv {} public interface I<T> {} public enum En {X} public delegate void Del(); } public class Go<T> { public class Gi<U> {} } public class Plain {} public interface IPlain<T>{} }
static class P { class Pn {} 
 static void T<X>(object o){ try{ _=(X)o; Console.WriteLine("ok"); }catch(Exception e){ Console.WriteLine(e.Message);} }
 static void T2(object o, Type t){ try{ Array a=Array.CreateInstance(t,1); a.SetValue(o,0); Console.WriteLine("ok"); }catch(Exception e){ Console.WriteLine(e.Message);} }
 static int Main(){ object s="s";
  T<A.B.Out.In>(s); T<A.B.Out>(s); T<A.B.Out.In.In2<int>>(s); T<A.B.Out.Sv>(s); T<A.B.Out.I<string>>(s); T<A.B.Out.En>(s); T<A.B.Go<int>.Gi<string>>(s); T<A.B.Go<A.B.Out.In>>(s); T<A.B.Out.In[]>(s); T<A.B.Go<int>[,]>(s); T<List<A.B.Out.In[]>>(s); T<A.B.Out.Del>(s); T<A.B.IPlain<A.B.Plain>>(s); T<(int,string)>(s); T<int?>(s); T<A.B.Out.Sv?>(s);
  object[] os={new A.B.Out.In(),new A.B.Out.In.In2<int>(),default(A.B.Out.Sv),A.B.Out.En.X,new A.B.Go<int>.Gi<string>(),new A.B.Go<A.B.Out.In>[1],new A.B.Out.In[2][],new int[2,2],(1,"a"),new Pn(),new Action(()=>{}),new{a=1},1,1.5,DayOfWeek.Friday, new Dictionary<A.B.Out.In,List<A.B.Out.Sv>>()}; foreach(var o in os){ T<Version>(o); T<Pn>(o); T2(o,typeof(Pn)); T<A.B.Plain>(o);} 
  try{ object x=(IPn)(object)new Pn(); }catch(Exception e){Console.WriteLine(e.Message);} try{ var x=(Pn[])(object)new Version[1]; }catch(Exception e){Console.WriteLine(e.Message);} 
  try { object o=5; var e=(A.B.Out.En)(long)o; } catch(Exception e){Console.WriteLine(e.Message);} try { object o=5L; var e=(int)o; } catch(Exception e){Console.WriteLine(e.Message);} 
  return 100; } interface IPn {} }
