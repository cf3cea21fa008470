using System; using System.IO; using System.Reflection; using System.Runtime.Loader;
public class Foo { public class Bar{} public static void Take(Foo f){} public int V=3; public static int S; }
static class P { static int Main(){ var alc=new AssemblyLoadContext("second",true); var a=alc.LoadFromAssemblyPath(typeof(P).Assembly.Location); var t=a.GetType("Foo"); object o=Activator.CreateInstance(t);
 string dir=Path.GetDirectoryName(typeof(P).Assembly.Location); string bad=Path.Combine(Path.GetTempPath(),"bad-image-"+Environment.ProcessId+".dll"); Func<string,string> F=s=>s.Replace(typeof(object).Assembly.Location,"CORELIB").Replace(bad,"BAD").Replace(dir,"DIR");
 try{ var f=(Foo)o; }catch(InvalidCastException e){Console.WriteLine(F(e.Message));}
 try{ var f=(Foo.Bar)Activator.CreateInstance(a.GetType("Foo+Bar")); }catch(InvalidCastException e){Console.WriteLine(F(e.Message));}
 try{ typeof(Foo).GetField("V").GetValue(o); }catch(Exception e){Console.WriteLine(F(e.Message));}
 try{ typeof(Foo).GetMethod("Take").Invoke(null,new[]{o}); }catch(Exception e){Console.WriteLine(F(e.Message));}
 var b=AssemblyLoadContext.Default; var alc2=new AssemblyLoadContext(null); var a2=alc2.LoadFromStream(new MemoryStream(File.ReadAllBytes(typeof(P).Assembly.Location))); try{ var f=(Foo)Activator.CreateInstance(a2.GetType("Foo")); }catch(InvalidCastException e){Console.WriteLine(F(e.Message));}
 try{ var f=(Foo[])(object)Array.CreateInstance(t,1); }catch(InvalidCastException e){Console.WriteLine(F(e.Message));}
 try{ var f=(System.Collections.Generic.List<Foo>)Activator.CreateInstance(typeof(System.Collections.Generic.List<>).MakeGenericType(t)); }catch(InvalidCastException e){Console.WriteLine(F(e.Message));}
 a.GetType("Foo").GetField("S").SetValue(null,4); Console.WriteLine(Foo.S+" "+a.GetType("Foo").GetField("S").GetValue(null)+" "+(a==typeof(P).Assembly)+" "+alc+" "+AssemblyLoadContext.GetLoadContext(a).Name+" "+a2.Location.Length+" "+alc.IsCollectible+" "+AssemblyLoadContext.Default);
 foreach(var x in AssemblyLoadContext.All) Console.WriteLine(x.Name); foreach(var x in alc.Assemblies) Console.WriteLine(x.GetName().Name);
 try{ alc.LoadFromAssemblyPath("rel.dll"); }catch(Exception e){Console.WriteLine(e.Message);} try{ alc.LoadFromAssemblyPath("/no/such.dll"); }catch(Exception e){Console.WriteLine(e.Message);} File.WriteAllText(bad,"xx"); try{ alc.LoadFromAssemblyPath(bad); }catch(BadImageFormatException e){Console.WriteLine(F(e.Message+e.FileName));} File.Delete(bad); try{ alc.LoadFromStream(new MemoryStream(new byte[300])); }catch(Exception e){Console.WriteLine(e.GetType()+e.Message);} try{ Assembly.Load(new byte[10]); }catch(Exception e){Console.WriteLine(e.GetType()+e.Message);}
 alc.Unload(); try{ alc.LoadFromAssemblyPath(typeof(P).Assembly.Location); }catch(Exception e){Console.WriteLine(e.GetType()+e.Message);} try{ AssemblyLoadContext.Default.Unload(); }catch(Exception e){Console.WriteLine(e.GetType()+e.Message);}
 return 100; } }
