// Code of dynamic methods and of collectible assemblies that is unloaded, while some of it runs.
using System;
using System.Collections.Generic;
using System.Reflection;
using System.Reflection.Emit;
using System.Runtime.CompilerServices;
using System.Threading;

public interface IAdd { int Add(int a, int b); }

static class DeadCode
{
    static Func<int, int> Dynamic(int n)
    {
        var method = new DynamicMethod("plus" + n, typeof(int), new[] { typeof(int) }, typeof(DeadCode).Module);
        ILGenerator il = method.GetILGenerator();
        il.BeginExceptionBlock();
        il.Emit(OpCodes.Ldstr, "x" + n);
        il.Emit(OpCodes.Pop);
        il.Emit(OpCodes.Ldarg_0);
        il.Emit(OpCodes.Ldc_I4, n);
        LocalBuilder sum = il.DeclareLocal(typeof(int));
        il.Emit(OpCodes.Add_Ovf);
        il.Emit(OpCodes.Stloc, sum);
        il.BeginExceptFilterBlock();
        il.Emit(OpCodes.Pop);
        il.Emit(OpCodes.Ldc_I4_0);
        il.BeginCatchBlock(null);
        il.Emit(OpCodes.Pop);
        il.EndExceptionBlock();
        il.Emit(OpCodes.Ldloc, sum);
        il.Emit(OpCodes.Ret);
        return method.CreateDelegate<Func<int, int>>();
    }

    // Nobody but its frame knows the method that runs.
    static Action<Action> Runs(int n)
    {
        var method = new DynamicMethod("runs" + n, null, new[] { typeof(Action) }, typeof(DeadCode).Module);
        ILGenerator il = method.GetILGenerator();
        il.Emit(OpCodes.Ldarg_0);
        il.Emit(OpCodes.Callvirt, typeof(Action).GetMethod("Invoke")!);
        il.Emit(OpCodes.Ldstr, "back in runs" + n);
        il.Emit(OpCodes.Call, typeof(Console).GetMethod("WriteLine", new[] { typeof(string) })!);
        il.Emit(OpCodes.Ret);
        return method.CreateDelegate<Action<Action>>();
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    static long ManyDynamic(int from, int count, List<Exception> failures)
    {
        long sum = 0;
        for (int n = from; n < from + count; n++)
        {
            Func<int, int> f = Dynamic(n);
            for (int i = 0; i < 3; i++) sum += f(i);
            try { f(int.MaxValue); sum += n == 0 ? 0 : 1_000_000; }
            catch (OverflowException e) { if (n % 100 == 1) failures.Add(e); }
        }
        return sum;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    static int Unloadable(int n)
    {
        AssemblyBuilder assembly = AssemblyBuilder.DefineDynamicAssembly(new AssemblyName("unloadable" + n), AssemblyBuilderAccess.RunAndCollect);
        TypeBuilder type = assembly.DefineDynamicModule("m").DefineType("Adder", TypeAttributes.Public, typeof(object), new[] { typeof(IAdd) });
        MethodBuilder add = type.DefineMethod("Add", MethodAttributes.Public | MethodAttributes.Virtual, typeof(int), new[] { typeof(int), typeof(int) });
        ILGenerator il = add.GetILGenerator();
        il.Emit(OpCodes.Ldarg_1);
        il.Emit(OpCodes.Ldarg_2);
        il.Emit(OpCodes.Add);
        il.Emit(OpCodes.Ldc_I4, n);
        il.Emit(OpCodes.Add);
        il.Emit(OpCodes.Ret);
        var adder = (IAdd)Activator.CreateInstance(type.CreateType()!)!;
        int sum = 0;
        for (int i = 0; i < 100; i++) sum += adder.Add(i, 1);
        return sum;
    }

    static void Collect()
    {
        for (int i = 0; i < 4; i++) { GC.Collect(); GC.WaitForPendingFinalizers(); }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    static void RunAlone(int n, Action body) => Runs(n)(body);

    static int Main()
    {
        var failures = new List<Exception>();
        long sum = 0;
        for (int round = 0; round < 4; round++)
        {
            sum += ManyDynamic(round * 300, 300, failures);
            for (int i = 0; i < 10; i++) sum += Unloadable(round * 10 + i);
            Collect();
        }
        Console.WriteLine(sum);
        // Traces outlive the code.
        foreach (Exception e in failures) Console.WriteLine(e.StackTrace!.Split('\n')[0].Trim());
        Func<int, int> kept = Dynamic(42);
        RunAlone(1, () =>
        {
            Collect();
            long inner = ManyDynamic(5000, 50, failures);
            Collect();
            Console.WriteLine($"inside {inner} {kept(1)}");
        });
        var thread = new Thread(() => RunAlone(2, () => { Collect(); Console.WriteLine("on a thread"); }));
        thread.Start();
        thread.Join();
        Collect();
        Console.WriteLine(kept(2));
        return 100;
    }
}
