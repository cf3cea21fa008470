// Calls the static and instance methods of many classes by reflection, with arguments from fixed pools; a hash per class.
using System; using System.Collections.Generic; using System.Linq; using System.Reflection; using System.Text; using System.Numerics; using System.Globalization; using System.Runtime.Intrinsics;
static class P {
  static ulong seed = 88172645463325252UL; static int Rnd(int n) { seed ^= seed << 13; seed ^= seed >> 7; seed ^= seed << 17; return (int)(seed % (ulong)n); }
  static Dictionary<Type, object[]> pool = new();
  static void Pool<T>(params T[] v) => pool[typeof(T)] = v.Cast<object>().ToArray();
  static object Val(Type t) {
    if (t.IsByRef) t = t.GetElementType();
    if (pool.TryGetValue(t, out var p)) return p[Rnd(p.Length)];
    if (t.IsEnum) { var vs = Enum.GetValues(t); return vs.Length == 0 ? null : vs.GetValue(Rnd(vs.Length)); }
    if (t.IsArray && t.GetArrayRank() == 1) { var e = t.GetElementType(); if (e.IsPointer || e.IsByRefLike) return null; var a = Array.CreateInstance(e, Rnd(5)); for (int i = 0; i < a.Length; i++) a.SetValue(Val(e), i); return a; }
    if (Nullable.GetUnderlyingType(t) is Type u) return Rnd(3) == 0 ? null : Val(u);
    if (t.IsGenericType && t.IsValueType && t.FullName.StartsWith("System.ValueTuple")) return Activator.CreateInstance(t, t.GetGenericArguments().Select(Val).ToArray());
    if (t.IsGenericType && (t.Name.StartsWith("Vector64") || t.Name.StartsWith("Vector128") || t.Name.StartsWith("Vector256"))) return Vec(t);
    if (t == typeof(object)) return Rnd(4) switch { 0 => null, 1 => 5, 2 => "obj", _ => 2.5 };
    if (t == typeof(IFormatProvider)) return CultureInfo.InvariantCulture;
    if (t == typeof(IEnumerable<string>)) return new[] { "a", "b" };
    return t.IsValueType && !t.IsByRefLike ? Activator.CreateInstance(t) : null;
  }
  static object Vec(Type t) { var e = t.GetGenericArguments()[0]; var m = (t.Name.StartsWith("Vector64") ? typeof(Vector64) : t.Name.StartsWith("Vector128") ? typeof(Vector128) : typeof(Vector256)).GetMethods().First(x => x.Name == "Create" && x.IsGenericMethod && x.GetParameters() is var p && p.Length == 1 && p[0].ParameterType.IsArray); int size = t.Name.StartsWith("Vector64") ? 8 : t.Name.StartsWith("Vector128") ? 16 : 32; int n = size / System.Runtime.InteropServices.Marshal.SizeOf(e == typeof(nint) || e == typeof(nuint) ? typeof(long) : e); var a = Array.CreateInstance(e, n); for (int i = 0; i < n; i++) a.SetValue(Val(e), i); return m.MakeGenericMethod(e).Invoke(null, new object[] { a }); }
  static string S(object o, int d = 0) {
    if (o == null) return "null"; if (d > 3) return "..";
    if (o is string s) return "\"" + string.Concat(s.Select(c => c < 32 || c > 126 ? "\\u" + ((int)c).ToString("x4") : c.ToString())) + "\"";
    if (o is double db) return BitConverter.DoubleToInt64Bits(double.IsNaN(db) ? double.NaN : db).ToString("x"); if (o is float fl) return BitConverter.SingleToInt32Bits(float.IsNaN(fl) ? float.NaN : fl).ToString("x"); if (o is Half h) return Half.IsNaN(h) ? "hnan" : BitConverter.HalfToInt16Bits(h).ToString("x");
    if (o is char ch) return "'" + ((int)ch).ToString("x"); if (o is IFormattable f) return f.ToString(null, CultureInfo.InvariantCulture);
    if (o is System.Collections.IEnumerable en) { var sb = new StringBuilder("["); int n = 0; foreach (var x in en) { sb.Append(S(x, d + 1)).Append(','); if (n++ > 40) break; } return sb + "]"; }
    var t = o.GetType(); if (t.IsGenericType && t.Name.StartsWith("Vector")) return o.ToString(); if (o is Type ty) return ty.ToString();
    var ts = o.ToString(); return ts == t.ToString() ? ts + "{" + string.Join(",", t.GetFields(BindingFlags.Public | BindingFlags.Instance).Select(q => S(q.GetValue(o), d + 1))) + "}" : ts;
  }
  static uint hash = 2166136261; static int count;
  static void Out(string line) { foreach (char c in line) hash = (hash ^ c) * 16777619; count++; if (verbose) Console.WriteLine(line); }
  static bool verbose;
  static void Call(MethodBase m, int times, bool inst) {
    var ps = m.GetParameters();
    if (ps.Any(p => p.ParameterType.IsPointer || p.ParameterType.IsByRefLike || (p.ParameterType.IsByRef && p.ParameterType.GetElementType().IsByRefLike) || typeof(Delegate).IsAssignableFrom(p.ParameterType))) return;
    if (m is MethodInfo mi0 && (mi0.ReturnType.IsByRefLike || mi0.ReturnType.IsPointer || mi0.ReturnType.IsByRef)) return;
    if (inst && m.DeclaringType.IsByRefLike) return;
    for (int k = 0; k < times; k++) {
      var a = ps.Select(p => Val(p.ParameterType)).ToArray(); object self = inst ? Val(m.DeclaringType) : null; if (inst && self == null) continue; string args = S(a); string r;
      try { object v = m is ConstructorInfo c ? c.Invoke(a) : m.Invoke(self, a); r = S(v); for (int i = 0; i < a.Length; i++) if (ps[i].ParameterType.IsByRef) r += " out " + S(a[i]); }
      catch (TargetInvocationException e) { r = "!" + e.InnerException.GetType().Name + (e.InnerException is ArgumentException or FormatException or OverflowException or InvalidOperationException ? e.InnerException.Message : ""); }
      catch (Exception e) { r = "!!" + e.GetType().Name; }
      Out(m.DeclaringType.Name + "." + m + (inst ? " on " + S(self) : "") + args + " = " + r);
    }
  }
  static readonly HashSet<string> skip = new() { "GetHashCode", "LoadUnsafe", "StoreUnsafe", "LoadAlignedNonTemporal", "get_Default", "GetReference", "get_Now", "get_UtcNow", "get_Today", "NewGuid", "CreateVersion7", "get_TickCount", "get_Current", "get_Shared", "Next", "ReadLine", "Sleep", "Exit", "FailFast", "get_IsHardwareAccelerated", "get_Local", "get_TimeOfDay", "ToLocalTime", "get_IsSupported", "ReciprocalEstimate", "ReciprocalSqrtEstimate", "MultiplyAddEstimate", "MaxNative", "MinNative", "ConvertToIntegerNative", "ClampNative", "GetType", "ConvertToInt32Native", "ConvertToInt64Native", "ConvertToUInt32Native", "ConvertToUInt64Native", "ShuffleNative", "AsVector", "Lerp", "Log", "Log2", "SinCos", "Sin", "Cos", "Exp", "Cross", "CreateLookAt", "CreateLookAtLeftHanded", "CreateLookTo", "CreateLookToLeftHanded", "CreateBillboard", "CreateConstrainedBillboard", "CreateWorld", "CreateShadow", "get_Item", "Slerp", "AsVector128", "AsVector128Unsafe", "AsVector256", "CreateScalarUnsafe", "ToVector128Unsafe", "ToVector256Unsafe", "ToVector512Unsafe",  "get_LocalDateTime" };
  static void Sweep(Type t, int times, bool inst) {
    uint h0 = hash; int c0 = count; if (only != null && !t.FullName.Contains(only)) return; seed = 88172645463325252UL; hash = 2166136261;
    var ms = t.GetMethods(BindingFlags.Public | BindingFlags.Static | (inst ? BindingFlags.Instance : 0)).Where(m => m.DeclaringType == t && !skip.Contains(m.Name)).OrderBy(m => m.ToString(), StringComparer.Ordinal);
    foreach (var m in ms) { if (m.IsGenericMethodDefinition) { if (m.GetGenericArguments().Length > 2) continue; foreach (var e in elems) { MethodInfo g; try { g = m.GetGenericArguments().Length == 1 ? m.MakeGenericMethod(e) : m.MakeGenericMethod(e, elems[Rnd(elems.Length)]); } catch (ArgumentException) { continue; } Call(g, Math.Max(1, times / 4), !m.IsStatic); } } else Call(m, times, !m.IsStatic); }
    if (inst) foreach (var c in t.GetConstructors().OrderBy(m => m.ToString(), StringComparer.Ordinal)) Call(c, times, false);
    Console.WriteLine(t + " " + (count - c0) + " " + hash.ToString("x"));
  }
  static string only; static Type[] elems = { typeof(byte), typeof(sbyte), typeof(short), typeof(ushort), typeof(int), typeof(uint), typeof(long), typeof(ulong), typeof(float), typeof(double), typeof(nint), typeof(nuint) };
  static int Main(string[] argv) {
    if (argv.Length > 0) { only = argv[0]; verbose = true; } CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
    Pool<byte>(0, 1, 127, 128, 255, 7); Pool<sbyte>(0, 1, -1, 127, -128, 5); Pool<short>(0, 1, -1, short.MaxValue, short.MinValue, 300, 8); Pool<ushort>(0, 1, ushort.MaxValue, 0x8000, 300); Pool<int>(0, 1, -1, 2, 3, int.MaxValue, int.MinValue, 10, 100, 31, 12345); Pool<uint>(0, 1, uint.MaxValue, 0x80000000, 77); Pool<long>(0, 1, -1, long.MaxValue, long.MinValue, 1L << 40, 99, 637134336000000000); Pool<ulong>(0, 1, ulong.MaxValue, 1UL << 63, 12345678901); Pool<nint>(0, 1, -1, nint.MaxValue, nint.MinValue, 9); Pool<nuint>(0, 1, nuint.MaxValue, 9); Pool<char>('a', 'Z', '0', ' ', '\0', '\uffff', 'é', '\ud800', '\u0130'); Pool<bool>(true, false);
    Pool<float>(0, -0f, 1, -1.5f, float.MaxValue, float.MinValue, float.Epsilon, float.NaN, float.PositiveInfinity, float.NegativeInfinity, 3.14159f, 1e10f, 2.5f, 0.1f); Pool<double>(0, -0.0, 1, -1.5, double.MaxValue, double.Epsilon, double.NaN, double.PositiveInfinity, double.NegativeInfinity, Math.PI, 1e18, 2.5, 0.1, 4294967296.0, -1e300); Pool<Half>((Half)0, (Half)1, (Half)(-2.5f), Half.MaxValue, Half.NaN, Half.PositiveInfinity, Half.Epsilon); Pool<decimal>(0m, 1m, -1.5m, decimal.MaxValue, decimal.MinValue, 0.0000000000000000000000000001m, 123456.789m, 2.50m); Pool<Int128>(0, 1, -1, Int128.MaxValue, Int128.MinValue, (Int128)1 << 70); Pool<UInt128>(0, 1, UInt128.MaxValue, (UInt128)1 << 100, 12345); Pool<BigInteger>(0, 1, -1, BigInteger.Pow(2, 100), -BigInteger.Pow(10, 30), 65536, 12345678901234567890); Pool<Complex>(Complex.Zero, Complex.One, new Complex(3, -4), new Complex(0.5, 2)); 
    Pool<string>("", "abc", "ABC", " a b ", "123", "-1.5e3", "0x1F", "true", "é\u0301ß", "2020-02-29T12:34:56Z", "1.02:03:04", "aXbXc", null, "{0} {1:x}", "11111111-2222-3333-4444-555555555555", "\ud83d\ude00x", "7fffffff", "01/02/2003"); Pool<DateTime>(default, new DateTime(2020, 2, 29, 12, 34, 56, DateTimeKind.Utc), DateTime.MaxValue, new DateTime(1969, 12, 31), new DateTime(2000, 1, 1, 0, 0, 0, DateTimeKind.Unspecified)); Pool<TimeSpan>(default, TimeSpan.FromHours(25.5), TimeSpan.MaxValue, TimeSpan.MinValue, new TimeSpan(-1), TimeSpan.FromMinutes(90)); Pool<DateTimeOffset>(default, new DateTimeOffset(2020, 2, 29, 1, 2, 3, TimeSpan.FromHours(5)), DateTimeOffset.MaxValue); Pool<DateOnly>(default, new DateOnly(2024, 2, 29), DateOnly.MaxValue); Pool<TimeOnly>(default, new TimeOnly(23, 59, 59, 999), new TimeOnly(1, 2)); Pool<Guid>(default, new Guid("11111111-2222-3333-4444-555555555555")); Pool<Rune>(new Rune('a'), new Rune(0x1F600), new Rune('é')); Pool<Version>(new Version(1, 2), new Version(1, 2, 3, 4)); Pool<Vector2>(new(1, -2), new(0.5f, float.NaN), default); Pool<Vector3>(new(1, -2, 3), new(0.5f, 2, 1e10f), default); Pool<Vector4>(new(1, -2, 3, 4), new(0.5f, 2, 0.25f, -1), default); Pool<Quaternion>(Quaternion.Identity, new(1, 2, 3, 4), Quaternion.Normalize(new(1, 2, 3, 4))); Pool<Plane>(new Plane(1, 2, 3, 4)); Pool<Matrix4x4>(Matrix4x4.Identity, Matrix4x4.CreateScale(2, 3, 4) * Matrix4x4.CreateTranslation(1, 2, 3), new(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17)); Pool<Matrix3x2>(Matrix3x2.Identity, new(1, 2, 3, 4, 5, 6)); Pool<CultureInfo>(CultureInfo.InvariantCulture); Pool<Type>(typeof(int), typeof(string)); Pool<Index>(0, ^1, 3); Pool<Range>(.., 1..^1); pool[typeof(Encoding)] = new object[] { Encoding.UTF8, Encoding.Unicode }; pool[typeof(StringComparer)] = new object[] { StringComparer.Ordinal };
    pool[typeof(Array)] = new object[] { new[] { 3, 1, 2 } };
    foreach (var t in new[] { typeof(Math), typeof(MathF), typeof(BitOperations), typeof(Convert), typeof(BitConverter), typeof(System.Buffers.Binary.BinaryPrimitives), typeof(char), typeof(CharUnicodeInfo), typeof(StringComparer), typeof(Buffer), typeof(Vector128) }) Sweep(t, 4, false);
    foreach (var t in new[] { typeof(byte), typeof(sbyte), typeof(short), typeof(ushort), typeof(int), typeof(uint), typeof(long), typeof(ulong), typeof(nint), typeof(nuint), typeof(float), typeof(double), typeof(Half), typeof(decimal), typeof(Int128), typeof(UInt128), typeof(BigInteger), typeof(Complex), typeof(bool), typeof(string), typeof(DateTime), typeof(TimeSpan), typeof(DateTimeOffset), typeof(DateOnly), typeof(TimeOnly), typeof(Guid), typeof(Rune), typeof(Version), typeof(Vector2), typeof(Vector3), typeof(Vector4), typeof(Quaternion), typeof(Plane), typeof(Matrix4x4), typeof(Matrix3x2), typeof(Index), typeof(Range) }) Sweep(t, 3, true);
    return 100; } }
