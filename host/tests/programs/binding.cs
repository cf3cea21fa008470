// Delegates closed over the first argument of static methods that return large structs; variance of open types; what cannot be made
// without a constructor.
using System;
using System.Collections.Generic;
using System.Linq;
using System.Linq.Expressions;
using System.Reflection;
using System.Reflection.Emit;
using System.Runtime.CompilerServices;

public struct Big {
    public long A, B, C;
    public override string ToString() => $"({A},{B},{C})";
}
public static class Extensions {
    public static Big Measure(this string s) => new Big { A = s?.Length ?? -1, B = 2, C = 3 };
    public static Big Measure(this string s, int a, double b, string c, long d, int e, int f, int g) => new Big { A = s.Length + a + (long)b + c.Length, B = d + e, C = f + g };
    public static Int128 Wide(this string s, int x) => (Int128)s.Length << 64 | (Int128)x;
    public static Guid Id(this List<int> l) => new Guid(l.Count, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10);
    public static (string, object, int) Three<T>(this T[] a) => (typeof(T).Name, a[0], a.Length);
}
delegate Big Long(int a, double b, string c, long d, int e, int f, int g);

static class Binding
{
    static void Try(string name, Func<object> f) {
        try { Console.WriteLine($"{name}: {f()}"); }
        catch (Exception e) { Console.WriteLine($"{name}: {e.GetType().Name}: {e.Message}"); }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    static long Sum(Func<Big> f, int times) {
        long sum = 0;
        for (int i = 0; i < times; i++) { Big b = f(); sum += b.A * 100 + b.B * 10 + b.C; }
        return sum;
    }

    static void ClosedStatic() {
        Func<Big> f = "four".Measure;
        Console.WriteLine($"{f()} {f.Method} {f.Target}");
        Console.WriteLine(Sum(f, 50_000));
        Func<Big> again = "four".Measure, other = "fives".Measure;
        Console.WriteLine($"{f == again} {f == other} {f.GetHashCode() == again.GetHashCode()}");
        Func<Big> both = f + other;
        Console.WriteLine($"{both()} {both.GetInvocationList().Length} {both - other == f}");
        Long l = "abc".Measure;
        Console.WriteLine(l(1, 2.5, "xy", 4, 5, 6, 7));
        Func<int, Int128> w = "abc".Wide;
        Console.WriteLine($"{w(5)} {w.DynamicInvoke(6)}");
        Func<Guid> g = new List<int> { 1, 2 }.Id;
        Console.WriteLine($"{g()} {g.Method.Invoke(null, new object[] { new List<int>() })}");
        Func<(string, object, int)> t = new[] { "a", "b" }.Three;
        Console.WriteLine(t());
        var nothing = (Func<Big>)Delegate.CreateDelegate(typeof(Func<Big>), null, typeof(Extensions).GetMethod("Measure", new[] { typeof(string) }));
        Console.WriteLine(nothing());
        var open = (Func<string, Big>)Delegate.CreateDelegate(typeof(Func<string, Big>), typeof(Extensions).GetMethod("Measure", new[] { typeof(string) }));
        Console.WriteLine(open("open"));
        for (int i = 0; i < 3; i++) {
            var number = Expression.Constant(300 + i);
            var lambda = Expression.Lambda<Func<Int128>>(Expression.Convert(number, typeof(Int128)));
            Console.WriteLine($"{lambda.Compile()()} {lambda.Compile(true)()} {lambda.Compile().DynamicInvoke()}");
        }
        var dynamic = new DynamicMethod("d", typeof(Big), new[] { typeof(string), typeof(int) }, typeof(Binding));
        var il = dynamic.GetILGenerator();
        il.Emit(OpCodes.Ldarg_0);
        il.Emit(OpCodes.Call, typeof(Extensions).GetMethod("Measure", new[] { typeof(string) }));
        il.Emit(OpCodes.Ret);
        Console.WriteLine(((Func<int, Big>)dynamic.CreateDelegate(typeof(Func<int, Big>), "dynamic"))(1));
    }

    class Constrained<R, S, V, I, N> where R : class where S : Stub where V : struct where I : IDisposable where N : R { }
    class Stub { }

    static void Variance() {
        var variables = typeof(Constrained<,,,,>).GetGenericArguments();
        foreach (var v in variables.Append(typeof(List<>).GetGenericArguments()[0]).Append(typeof(int)).Append(typeof(string))) {
            var sequence = typeof(IEnumerable<>).MakeGenericType(v);
            Console.WriteLine($"{v.Name}: {typeof(IEnumerable<object>).IsAssignableFrom(sequence)} {typeof(IEnumerable<Stub>).IsAssignableFrom(sequence)} {typeof(IEnumerable<IDisposable>).IsAssignableFrom(sequence)} {typeof(Action<>).MakeGenericType(v).IsAssignableFrom(typeof(Action<object>))} {typeof(object).IsAssignableFrom(v)}");
        }
    }

    static void Instances() {
        Try("delegate", () => Activator.CreateInstance(typeof(Action)));
        Try("delegate, no constructor", () => RuntimeHelpers.GetUninitializedObject(typeof(Action)));
        Try("open", () => RuntimeHelpers.GetUninitializedObject(typeof(List<>)));
        Try("void", () => RuntimeHelpers.GetUninitializedObject(typeof(void)));
        Try("string", () => RuntimeHelpers.GetUninitializedObject(typeof(string)));
        Try("void by Activator", () => Activator.CreateInstance(typeof(void)));
        Try("open by Activator", () => Activator.CreateInstance(typeof(List<>)));
        Try("prepare", () => { RuntimeHelpers.PrepareMethod(typeof(List<>).GetMethod("Add").MethodHandle); return "prepared"; });
    }

    static int Main() {
        ClosedStatic();
        Variance();
        Instances();
        return 100;
    }
}
