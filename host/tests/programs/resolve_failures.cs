// Exceptions out of AssemblyLoadContext.Load and of the resolve events: around the original, classified by its HRESULT.
using System;
using System.IO;
using System.Reflection;
using System.Runtime.Loader;
using System.Threading;

class Coded : Exception { public Coded(uint h) : base("coded") { HResult = (int)h; } }

class Context : AssemblyLoadContext {
    public static Func<AssemblyName, Assembly> Answer;
    public Context() : base("ctx", true) { Resolving += (c, n) => { Console.WriteLine("  resolving " + n.Name); if (n.Name.StartsWith("ev")) throw new InvalidOperationException("in event"); return null; }; }
    protected override Assembly Load(AssemblyName n) => Answer(n);
}

static class P {
    static string Tell(Exception e) => e == null ? "-" : $"{e.GetType().Name} {e.HResult:X8} '{e.Message.Replace("\n", "\\n")}' file={(e as FileLoadException)?.FileName ?? (e as FileNotFoundException)?.FileName ?? (e as BadImageFormatException)?.FileName} <- {Tell(e.InnerException)}";
    static void Try(string what, Func<object> f) {
        try { Console.WriteLine(what + " = " + f()); } catch (Exception e) { Console.WriteLine(what + " ! " + Tell(e)); }
    }
    static int Main() {
        var c = new Context();
        var failures = new Exception[] { new BadImageFormatException("bif"), new IOException("io"), new FileLoadException("fl", "f"), new FileLoadException("fl2") { HResult = unchecked((int)0x80131040) }, new FileNotFoundException("fnf"), new InvalidOperationException("iop"), new Exception("e"), new OutOfMemoryException("oom"), new NotSupportedException("ns"), new ArgumentException("arg"), new NullReferenceException("nre"), new InvalidCastException("cast"), new TypeLoadException("tl"), new DirectoryNotFoundException("dnf"), new UnauthorizedAccessException("ua"), new ThreadInterruptedException("int"), new TargetInvocationException(new Exception("x")), new ObjectDisposedException("od"), new Coded(0x12345678), new Coded(0x80131018), new Coded(0x80131524), new Coded(0x8000FFFF) };
        int k = 0;
        foreach (var f in failures) {
            Context.Answer = _ => throw f;
            k++;
            Try(f.GetType().Name, () => c.LoadFromAssemblyName(new AssemblyName("n" + k)));
        }
        Context.Answer = n => n.Name == "self" ? typeof(P).Assembly : null;
        Try("wrong name", () => c.LoadFromAssemblyName(new AssemblyName("self")));
        Try("event", () => c.LoadFromAssemblyName(new AssemblyName("ev1")));
        Try("nothing", () => c.LoadFromAssemblyName(new AssemblyName("none")));
        AppDomain.CurrentDomain.AssemblyResolve += (s, e) => { Console.WriteLine("  resolve " + e.Name); if (e.Name.StartsWith("ad")) throw new ArgumentException("in domain event"); return null; };
        Try("domain event", () => Assembly.Load("ad1"));
        Try("domain event of type", () => Type.GetType("T, ad2"));
        Try("domain event of type, throwing", () => Type.GetType("T, ad2", true));
        Try("domain event of context", () => c.LoadFromAssemblyName(new AssemblyName("ad3")));
        Try("nothing of type", () => Type.GetType("T, none2"));
        AssemblyLoadContext.Default.Resolving += (x, n) => { if (n.Name.StartsWith("df")) throw new BadImageFormatException("in default"); return null; };
        Try("default event", () => Assembly.Load("df1, Version=1.0.0.0"));
        Try("satellite", () => typeof(P).Assembly.GetSatelliteAssembly(new System.Globalization.CultureInfo("de")));
        var wrong = new Context();
        Context.Answer = _ => throw new IOException("twice");
        for (int i = 0; i < 2; i++) Try("again", () => wrong.LoadFromAssemblyName(new AssemblyName("twice")));
        GC.Collect();
        return 100;
    }
}
