using System; using System.Collections.Generic; using System.Linq; using System.Text; using System.Threading; using System.Threading.Tasks;
interface IShape { double Area(); string Name => GetType().Name; }
record Circle(double R) : IShape { public double Area() => Math.PI * R * R; }
record struct Sq(double S) : IShape { public double Area() => S * S; }
enum Color { Red, Green = 5, Blue }
class MyEx : Exception { public int Code; public MyEx(string m, int c, Exception inner) : base(m, inner) { Code = c; } }
class Program {
  static int counter; [ThreadStatic] static int ts;
  static async Task<int> Work(int n) { await Task.Yield(); await Task.Delay(1); if (n == 7) throw new InvalidOperationException("seven"); return n * n; }
  static async IAsyncEnumerable<int> Gen(int n) { for (int i = 0; i < n; i++) { await Task.Delay(1); yield return i; } }
  static IEnumerable<int> Fib() { int a = 0, b = 1; while (true) { yield return a; (a, b) = (b, a + b); } }
  static int Deep(int n) { if (n == 0) throw new MyEx("deep", 3, new ArgumentException("inner", "p")); try { return Deep(n - 1) + 1; } finally { counter++; } }
  static T Max<T>(IEnumerable<T> xs) where T : IComparable<T> { T best = default!; bool first = true; foreach (var x in xs) if (first || x.CompareTo(best) > 0) { best = x; first = false; } return best; }
  static async Task<int> Main(string[] args) {
    var words = "the quick brown fox jumps over the lazy dog the end".Split(' ');
    var counts = new Dictionary<string, int>();
    foreach (var w in words) { counts.TryGetValue(w, out var c); counts[w] = c + 1; }
    foreach (var kv in counts.OrderByDescending(k => k.Value).ThenBy(k => k.Key, StringComparer.Ordinal).Take(3)) Console.WriteLine($"{kv.Key,-6}|{kv.Value:D3}");
    Console.WriteLine(string.Join(",", words.GroupBy(w => w.Length).OrderBy(g => g.Key).Select(g => $"{g.Key}:{g.Count()}")));
    Console.WriteLine(string.Join(" ", Fib().Where(x => x % 2 == 0).Skip(1).TakeWhile(x => x < 1000)));
    var shapes = new List<IShape> { new Circle(1.5), new Sq(2), new Circle(0.5) };
    shapes.Sort((a, b) => a.Area().CompareTo(b.Area()));
    foreach (var s in shapes) Console.WriteLine($"{s.Name} {s.Area():F3} {s}");
    Console.WriteLine(Max(new[] { 3, 9, 4 }) + " " + Max(new[] { "b", "z", "a" }) + " " + Max(new[] { 1.5, -2.25 }));
    try { Deep(4); } catch (MyEx e) when (e.Code == 3) { Console.WriteLine($"{e.GetType().FullName}: {e.Message} inner={e.InnerException!.Message} finally={counter} trace={e.StackTrace!.Split('\n').Length}"); }
    try { object o = "s"; int i = (int)o; } catch (InvalidCastException e) { Console.WriteLine(e.Message); }
    try { int[] a = new int[2]; a[args.Length + 5] = 1; } catch (IndexOutOfRangeException e) { Console.WriteLine(e.Message); }
    try { string? z = args.Length == 99 ? "" : null; Console.WriteLine(z!.Length); } catch (NullReferenceException e) { Console.WriteLine(e.GetType().Name); }
    try { int d = args.Length; Console.WriteLine(10 / d); } catch (DivideByZeroException e) { Console.WriteLine(e.Message); }
    try { checked { int m = int.MaxValue; m += args.Length + 1; } } catch (OverflowException) { Console.WriteLine("overflow"); }
    var tasks = Enumerable.Range(1, 5).Select(n => Task.Run(() => Work(n))).ToArray();
    var r = await Task.WhenAll(tasks); Console.WriteLine("sum " + r.Sum());
    try { await Work(7); } catch (InvalidOperationException e) { Console.WriteLine("caught " + e.Message); }
    int total = 0; await foreach (var x in Gen(4)) total += x; Console.WriteLine("async stream " + total);
    var lockObj = new object(); var threads = new List<Thread>();
    for (int t = 0; t < 3; t++) { var th = new Thread(() => { ts = 5; for (int i = 0; i < 100; i++) { lock (lockObj) counter++; Interlocked.Increment(ref total); } }); th.Start(); threads.Add(th); }
    foreach (var th in threads) th.Join(); Console.WriteLine($"threads {counter} {total} {ts}");
    using var cts = new CancellationTokenSource(); cts.Cancel(); try { await Task.Delay(1000, cts.Token); } catch (TaskCanceledException) { Console.WriteLine("cancelled"); }
    var sb = new StringBuilder(); for (int i = 0; i < 20; i++) sb.Append(i).Append(';'); sb.Insert(0, "<").Append('>').Replace(";", ","); Console.WriteLine(sb.ToString());
    Console.WriteLine($"{Color.Green} {(Color)9} {Enum.Parse<Color>("Blue")} {Enum.GetNames(typeof(Color)).Length}");
    Func<int, int> f = x => x + 1; f += x => x * 2; Console.WriteLine(f(10)); Action<object> act = Console.WriteLine; act(3.14159);
    var grid = new int[3, 4]; for (int i = 0; i < 3; i++) for (int j = 0; j < 4; j++) grid[i, j] = i * j; Console.WriteLine(grid.Cast<int>().Sum() + " " + grid.GetLength(1));
    var set = new HashSet<int>(Enumerable.Range(0, 10)); set.ExceptWith(new[] { 1, 2, 3 }); var q = new Queue<string>(words); var st = new Stack<int>(set); var sd = new SortedDictionary<string, int>(counts, StringComparer.Ordinal);
    Console.WriteLine($"{set.Count} {q.Dequeue()} {st.Pop()} {sd.First().Key}");
    Console.WriteLine(double.Parse("1e3") + int.Parse("42") + " " + (1.0 / 3) + " " + 123456789.125m + " " + DateTime.UnixEpoch.AddDays(1).ToString("yyyy-MM-dd") + " " + TimeSpan.FromSeconds(90));
    Console.WriteLine("Hello World".ToUpperInvariant().Replace("WORLD", "there").Substring(3).Trim().PadLeft(12, '*').IndexOf("the", StringComparison.OrdinalIgnoreCase));
    object boxed = new Sq(3); Console.WriteLine(boxed.Equals(new Sq(3)) + " " + boxed.GetHashCode().Equals(new Sq(3).GetHashCode()) + " " + (boxed is IShape { } sh ? sh.Area() : 0));
    var lazy = new Lazy<string>(() => "lazy"); var wr = new WeakReference(lazy); GC.Collect(); GC.WaitForPendingFinalizers(); Console.WriteLine(lazy.Value + wr.IsAlive + (GC.CollectionCount(0) > 0));
    return 0;
  }
}
