// Calls every static operation of the 128-bit vector classes and of the x86 classes with edge cases and random operands, from
// code made by Reflection.Emit so that each call is a direct one, and prints a checksum per operation.
// "-v" prints one per overload and element type. Recorded from CoreCLR with DOTNET_EnableAVX=0.
using System;
using System.Collections.Generic;
using System.Linq;
using System.Numerics;
using System.Reflection;
using System.Reflection.Emit;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

unsafe class Program
{
    delegate void Caller(byte* a, byte* b, byte* c, byte* o);

    static readonly Type[] Elements =
    {
        typeof(sbyte), typeof(byte), typeof(short), typeof(ushort), typeof(int), typeof(uint), typeof(long), typeof(ulong),
        typeof(nint), typeof(nuint), typeof(float), typeof(double),
    };

    static readonly string[] X86 =
    {
        "Sse", "Sse+X64", "Sse2", "Sse2+X64", "Sse3", "Ssse3", "Sse41", "Sse41+X64", "Sse42", "Sse42+X64", "Popcnt",
        "Popcnt+X64", "Lzcnt", "Lzcnt+X64",
    };

    static bool verbose;
    static int made;
    static byte* memory;
    const int Slot = 64;
    static readonly byte[][] inputs = MakeInputs();

    static byte[][] MakeInputs()
    {
        var sets = new List<byte[]>();
        void Fill(Func<int, byte> f)
        {
            var set = new byte[3 * Slot];
            for (int i = 0; i < set.Length; i++) set[i] = f(i);
            sets.Add(set);
        }
        Fill(i => 0);
        Fill(i => 0xff);
        Fill(i => (byte)(i / Slot == 0 ? 0x80 : i / Slot == 1 ? 0xff : 1));
        Fill(i => (byte)i);
        Fill(i => (byte)(i % 16 < 8 ? 0x7f : 0x80));
        float[] singles = { 0f, -0f, 1.5f, -2.5f, float.NaN, float.PositiveInfinity, 3e9f, -3e9f, 1e-40f, 0.5f, -0.5f, float.MaxValue };
        double[] doubles = { 0, -0.0, 1.5, -2.5, double.NaN, double.NegativeInfinity, 3e9, -1e19, 2e19, 5e-324, 0.5, 1e300 };
        for (int shift = 0; shift < 6; shift++)
        {
            int s = shift;
            Fill(i => BitConverter.GetBytes(singles[(i / 4 * 5 + i / Slot + s * 7) % singles.Length])[i % 4]);
            Fill(i => BitConverter.GetBytes(doubles[(i / 8 * 5 + i / Slot + s * 7) % doubles.Length])[i % 8]);
            Fill(i => BitConverter.GetBytes((float)((i / 4 * 37 + s * 11) % 41 - 20))[i % 4]);
            Fill(i => BitConverter.GetBytes((double)((i / 8 * 37 + s * 11) % 41 - 20) / 4)[i % 8]);
        }
        uint state = 12345;
        byte Next() { state ^= state << 13; state ^= state >> 17; state ^= state << 5; return (byte)(state >> 11); }
        for (int n = 0; n < 12; n++) Fill(i => Next());
        for (int n = 0; n < 4; n++) Fill(i => (byte)(Next() & 0x1f));
        return sets.ToArray();
    }

    static bool Plain(Type t) =>
        !t.IsByRef && !t.IsPointer && t.IsValueType && !t.IsByRefLike && !t.ContainsGenericParameters
        && t != typeof(void) && !t.GetFields(BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic).Any(f => !f.FieldType.IsValueType);

    static bool Usable(MethodInfo m) =>
        (m.ReturnType == typeof(void) || m.ReturnType == typeof(bool) || Plain(m.ReturnType))
        && m.GetParameters().All(p => p.ParameterType.IsPointer || p.ParameterType.IsByRef && !p.IsOut || Plain(p.ParameterType))
        && m.GetParameters().Length is > 0 and <= 16;

    static string Name(Type t) =>
        t.IsPointer ? Name(t.GetElementType()!) + "*" : t.IsByRef ? Name(t.GetElementType()!) + "&"
        : t.IsGenericType ? t.Name.Split('`')[0] + "<" + string.Join(",", t.GetGenericArguments().Select(Name)) + ">" : t.Name;

    static readonly ModuleBuilder module =
        AssemblyBuilder.DefineDynamicAssembly(new AssemblyName("Callers"), AssemblyBuilderAccess.Run).DefineDynamicModule("Callers");

    // One caller: loads the arguments from the slots, calls, stores the result. `constant`: for the last number.
    static Action<ILGenerator> Body(MethodInfo m, int? constant) => il =>
    {
        var ps = m.GetParameters();
        var ret = m.ReturnType;
        if (ret != typeof(void)) il.Emit(OpCodes.Ldarg_3);
        bool small = ps.Length <= 3;
        for (int i = 0; i < ps.Length; i++)
        {
            var t = ps[i].ParameterType;
            void Address()
            {
                if (small) il.Emit(OpCodes.Ldarg, (short)i);
                else { il.Emit(OpCodes.Ldarg_0); il.Emit(OpCodes.Ldc_I4, i * 8); il.Emit(OpCodes.Add); }
            }
            bool last = i == ps.Length - 1 || m.Name == "WithElement" && i == 1;
            if (t.IsPointer || t.IsByRef) { Address(); continue; }
            if (constant is int n && last && (t == typeof(byte) || t == typeof(int))) { il.Emit(OpCodes.Ldc_I4, n); continue; }
            Address();
            il.Emit(OpCodes.Ldobj, t);
            if (ps.Length > 1 && i > 0 && t == typeof(nuint) && ps[i - 1].ParameterType.IsByRef)
            {
                il.Emit(OpCodes.Ldc_I4_3);
                il.Emit(OpCodes.Conv_I);
                il.Emit(OpCodes.And);
            }
            else if (t == typeof(int) && ps.Length > 1 && i > 0)
            {
                il.Emit(OpCodes.Ldc_I4, 20);
                il.Emit(OpCodes.Rem);
            }
        }
        il.Emit(OpCodes.Call, m);
        if (ret != typeof(void)) il.Emit(OpCodes.Stobj, ret);
        il.Emit(OpCodes.Ret);
    };

    static uint Hash(uint h, byte b) => (h ^ b) * 16777619;

    // Sign and payload of NaNs are the machine's business.
    static void Canonical(byte* p, int size, Type t)
    {
        string s = Name(t);
        if (s.Contains("Single") || t == typeof(Vector2) || t == typeof(Vector3) || t == typeof(Vector4) || t == typeof(Quaternion) || t == typeof(Plane))
            for (int i = 0; i + 4 <= size; i += 4) { if (float.IsNaN(*(float*)(p + i))) *(float*)(p + i) = float.NaN; }
        else if (s.Contains("Double"))
            for (int i = 0; i + 8 <= size; i += 8) { if (double.IsNaN(*(double*)(p + i))) *(double*)(p + i) = double.NaN; }
    }

    static int SizeOf(Type t) => (int)typeof(Unsafe).GetMethod("SizeOf")!.MakeGenericMethod(t).Invoke(null, null)!;

    static uint Run(MethodInfo m, int? constant)
    {
        var type = module.DefineType("C" + made++, TypeAttributes.Public | TypeAttributes.Abstract | TypeAttributes.Sealed);
        var method = type.DefineMethod("Call", MethodAttributes.Public | MethodAttributes.Static, typeof(void),
            new[] { typeof(byte*), typeof(byte*), typeof(byte*), typeof(byte*) });
        Body(m, constant)(method.GetILGenerator());
        var caller = type.CreateType()!.GetMethod("Call")!.CreateDelegate<Caller>();
        int size = m.ReturnType == typeof(void) ? 0 : SizeOf(m.ReturnType);
        bool memoryResult = m.GetParameters().Any(p => p.ParameterType.IsPointer || p.ParameterType.IsByRef);
        uint h = 2166136261;
        byte* o = memory + 4 * Slot;
        foreach (var input in inputs)
        {
            Marshal.Copy(input, 0, (IntPtr)memory, input.Length);
            new Span<byte>(o, 128).Clear();
            try
            {
                caller(memory, memory + Slot, memory + 2 * Slot, o);
                if (size > 0) Canonical(o, size, m.ReturnType);
                for (int i = 0; i < size; i++) h = Hash(h, o[i]);
                if (memoryResult) for (int i = 0; i < 3 * Slot; i++) h = Hash(h, memory[i]);
            }
            catch (Exception e)
            {
                foreach (char c in e.GetType().Name) h = Hash(h, (byte)c);
            }
        }
        return h;
    }

    static readonly SortedDictionary<string, uint> sums = new(StringComparer.Ordinal);
    static int count;

    static void Test(string owner, MethodInfo m)
    {
        if (!Usable(m)) return;
        var ps = m.GetParameters();
        string key = owner + "." + m.Name;
        uint total = sums.GetValueOrDefault(key, 17u);
        void One(int? constant)
        {
            uint h = Run(m, constant);
            total = total * 31 + h;
            count++;
            if (verbose) Console.WriteLine($"{key}({string.Join(";", ps.Select(p => Name(p.ParameterType)))}){Name(m.ReturnType)}{(constant is int n ? " #" + n : "")}: {h:x8}");
        }
        One(null);
        var number = m.Name == "WithElement" ? ps[1].ParameterType : ps[^1].ParameterType;
        if (ps.Length > 1 && number == typeof(byte) && ps.Length <= 3 && ps[0].ParameterType != typeof(uint))
            foreach (int n in new[] { 0, 1, 2, 3, 5, 8, 15, 16, 31, 0x1b, 0x4e, 0x71, 0xa5, 0xff }) One(n);
        else if (ps.Length > 1 && number == typeof(int) && ps.Length <= 3 && ps[0].ParameterType.IsGenericType)
            foreach (int n in new[] { 0, 1, 3, 7, 8, 15, 16, 33, 64, -1 }) One(n);
        sums[key] = total;
    }

    static IEnumerable<MethodInfo> Methods(Type t) =>
        t.GetMethods(BindingFlags.Public | BindingFlags.Static | BindingFlags.DeclaredOnly)
            .OrderBy(m => m.Name, StringComparer.Ordinal).ThenBy(m => m.ToString(), StringComparer.Ordinal);

    static void TestClass(string owner, Type t)
    {
        foreach (var m in Methods(t))
        {
            // Fused where the processor can: their last bit depends on it.
            if (m.Name is "Lerp" or "Log" or "MultiplyAddEstimate") continue;
            if (m.Name is "SinCos" or "CreateScalarUnsafe" or "AsVector128Unsafe" or "AsVector4Unsafe" || m.Name.Contains("256") || m.Name.Contains("512")) continue;
            if (!m.IsGenericMethodDefinition) { Test(owner, m); continue; }
            int arity = m.GetGenericArguments().Length;
            for (int i = 0; i < Elements.Length; i++)
            {
                var args = arity == 1 ? new[] { Elements[i] } : new[] { Elements[i], Elements[(i + 5) % Elements.Length] };
                Test(owner, m.MakeGenericMethod(args));
            }
        }
    }

    static int Main(string[] args)
    {
        verbose = args.Contains("-v");
        string only = args.FirstOrDefault(a => a != "-v") ?? "";
        // Methods whose upper lanes are undefined are left out.
        memory = (byte*)NativeMemory.AlignedAlloc(6 * Slot, 64);
        Console.WriteLine($"Vector64 {Vector64.IsHardwareAccelerated} Vector128 {Vector128.IsHardwareAccelerated} Vector256 {Vector256.IsHardwareAccelerated} Vector512 {Vector512.IsHardwareAccelerated} Vector {Vector.IsHardwareAccelerated} {Vector<byte>.Count}");
        var classes = new List<(string, Type)> { ("Vector128", typeof(Vector128)), ("Vector", typeof(Vector)) };
        foreach (var e in Elements)
        {
            classes.Add(("Vector128<T>", typeof(Vector128<>).MakeGenericType(e)));
            classes.Add(("Vector<T>", typeof(Vector<>).MakeGenericType(e)));
        }
        foreach (var name in X86)
        {
            var t = typeof(Sse).Assembly.GetType("System.Runtime.Intrinsics.X86." + name)!;
            bool supported = (bool)t.GetProperty("IsSupported")!.GetValue(null)!;
            Console.WriteLine($"{name} {supported}");
            if (supported) classes.Add((name, t));
        }
        foreach (var (name, type) in classes)
            if (name.StartsWith(only)) TestClass(name, type);
        if (!verbose)
            foreach (var (key, sum) in sums) Console.WriteLine($"{key}: {sum:x8}");
        Console.WriteLine($"{count} callers");
        return 100;
    }
}
