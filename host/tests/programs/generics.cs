using System; using System.Collections.Generic; using System.Linq; using System.Reflection;
class Node<T>:IComparable<Node<T>> where T:IComparable<T>{ public T V; public Node(T v){V=v;} public int CompareTo(Node<T> o)=>V.CompareTo(o.V); public override string ToString()=>typeof(T).Name+":"+V; public static int Cnt; public class Sub<U>{ public static string Nm=typeof(T)+"/"+typeof(U); public V2 Conv<V2>(U u,Func<U,V2> f)=>f(u); } }
interface IVisitor<out R>{ R Visit<T>(T t); } class NameV:IVisitor<string>{ public string Visit<T>(T t)=>typeof(T).Name+"="+t; }
abstract class Base<T>{ public abstract string M<U>(U u); public virtual T Id<U>(T t,U u)=>t; } class D1:Base<int>{ public override string M<U>(U u)=>"D1"+typeof(U).Name; } class D2<Q>:Base<List<Q>>{ public override string M<U>(U u)=>typeof(Q).Name+typeof(U).Name; public override List<Q> Id<U>(List<Q> t,U u){ t.Add(default); return t; } }
struct Pair<A,B>{ public A a; public B b; public Pair(A x,B y){a=x;b=y;} public Pair<B,A> Swap()=>new(b,a); public override string ToString()=>$"<{a},{b}>"; }
class Rec<T>{ public static int Depth<U>(int n)=> n==0? typeof(T).ToString().Length : Rec<T>.Depth<U>(n-1); public object Next(int n)=> n==0?(object)typeof(T).Name:new Rec<Rec<T>>().Next(n-1); }
class Sing<T> where T:class,new(){ public static readonly T I=new T(); } class Cnt{ public static int N; public Cnt(){N++;} }
static class P{ 
 static T Max<T>(IEnumerable<T> s) where T:IComparable<T>{ T m=default; bool f=true; foreach(var x in s) if(f||x.CompareTo(m)>0){m=x;f=false;} return m; }
 static string Kind<T>(T t)=> t switch{ int i=>"int"+i, string s=>"str"+s, null=>"null "+typeof(T).Name, IEnumerable<int> e=>"ints"+e.Sum(), Enum en=>"enum"+en, _=>typeof(T).Name };
 static bool Def<T>(T t)=>EqualityComparer<T>.Default.Equals(t,default);
 static Type[] Ts<A,B,C>()=>new[]{typeof(A[]),typeof(List<B>),typeof(Dictionary<A,C[,]>)};
 static int Main(){
  Console.WriteLine(Max(new[]{3,9,2})+Max(new[]{"b","z","a"})+Max(new[]{new Node<double>(2.5),new Node<double>(1)})); 
  foreach(var t in new[]{typeof(int),typeof(string),typeof(DateTime),typeof(decimal)}){ var nt=typeof(Node<>).MakeGenericType(t); nt.GetField("Cnt").SetValue(null,t.Name.Length); var st=nt.GetNestedType("Sub`1").MakeGenericType(t,typeof(long)); Console.WriteLine(st+" "+st.GetField("Nm").GetValue(null)+" "+nt.GetField("Cnt").GetValue(null)); }
  Console.WriteLine(Node<int>.Cnt+" "+Node<string>.Cnt+" "+Node<long>.Cnt); Console.WriteLine(new Node<int>.Sub<string>().Conv("abc",s=>s.Length*1.5));
  IVisitor<object> v=new NameV(); Console.WriteLine(v.Visit(1)+" "+v.Visit("x")+" "+v.Visit((1,'c'))+" "+v.Visit(new List<int>())); Base<int> b=new D1(); Console.WriteLine(b.M(1)+b.M("s")+b.M<object>(null)+b.Id(4,"q")); Base<List<char>> d2=new D2<char>(); Console.WriteLine(d2.M(1.0)+d2.M(new int[0])+d2.Id(new(),1).Count);
  Console.WriteLine(new Pair<int,string>(1,"a").Swap().Swap()+""+new Pair<Pair<byte,long>,object>(new(1,2),null).Swap()); Console.WriteLine(new Rec<int>().Next(12)); Console.WriteLine(Rec<string>.Depth<int>(50));
  _=Sing<Cnt>.I; _=Sing<Cnt>.I; Console.WriteLine(Cnt.N+" "+(Sing<object>.I!=null)); Console.WriteLine(string.Join(",",Kind(1),Kind("a"),Kind<string>(null),Kind(new[]{1,2}),Kind(DayOfWeek.Friday),Kind<int?>(null),Kind<int?>(5),Kind(new object())));
  Console.WriteLine(Def(0)+""+Def("")+Def<string>(null)+Def(new Pair<int,int>())+Def(DateTime.MinValue)+Def<int?>(0)); Console.WriteLine(string.Join(" ",Ts<int,string,object>().Concat(Ts<string,int[],(int,int)>()).Select(x=>x.ToString())));
  foreach(var mi in typeof(P).GetMethods(BindingFlags.NonPublic|BindingFlags.Static).Where(m=>m.Name=="Kind")) foreach(var (t,a) in new (Type,object)[]{(typeof(int),3),(typeof(string),"q"),(typeof(object),7),(typeof(int?),null),(typeof(DayOfWeek),DayOfWeek.Monday),(typeof(List<int>),new List<int>{4})}) Console.WriteLine(mi.MakeGenericMethod(t).Invoke(null,new[]{a}));
  dynamic dl=Activator.CreateInstance(typeof(List<>).MakeGenericType(typeof(Pair<,>).MakeGenericType(typeof(int),typeof(char)))); dl.Add(new Pair<int,char>(1,'x')); Console.WriteLine(dl[0].Swap()); Console.WriteLine(typeof(Dictionary<,>).MakeGenericType(typeof(string),typeof(List<>).MakeGenericType(typeof(int))).FullName.Replace(typeof(int).Assembly.FullName,"CORE"));
  var cmp=Comparer<Pair<int,int>>.Create((x,y)=>x.a-y.a); var arr=new Pair<int,int>[]{new(3,1),new(1,2)}; Array.Sort(arr,cmp); Console.WriteLine(string.Join(",",arr)); return 100; } }
