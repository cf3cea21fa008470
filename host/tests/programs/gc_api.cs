// The GC class: arguments, counts, totals, modes, regions without collections and their callback, memory pressure.
using System;
using System.Runtime;
using System.Runtime.CompilerServices;
using System.Threading;
static class Program
{
    static void Try(string n, Action a) { try { a(); Console.WriteLine($"{n}: ok"); } catch (Exception e) { Console.WriteLine($"{n}: {e.GetType().Name} {e.Message.Replace("\n", " ")}"); } }
    static void Try<T>(string n, Func<T> a) { try { Console.WriteLine($"{n}: {a()}"); } catch (Exception e) { Console.WriteLine($"{n}: {e.GetType().Name} {e.Message.Replace("\n", " ")}"); } }
    static object keep;
        [MethodImpl(MethodImplOptions.NoInlining)] static void Alloc(int mb) { for (int i = 0; i < mb * 16; i++) keep = new byte[65536]; }
    static int Main() {
        Console.WriteLine($"max {GC.MaxGeneration} server {GCSettings.IsServerGC} mode {GCSettings.LatencyMode} loh {GCSettings.LargeObjectHeapCompactionMode}");
        int c0 = GC.CollectionCount(0), c1 = GC.CollectionCount(1), c2 = GC.CollectionCount(2);
        GC.Collect(0); Console.WriteLine($"after 0: {GC.CollectionCount(0) - c0} {GC.CollectionCount(1) - c1} {GC.CollectionCount(2) - c2}");
        GC.Collect(1); Console.WriteLine($"after 1: {GC.CollectionCount(0) - c0} {GC.CollectionCount(1) - c1} {GC.CollectionCount(2) - c2}");
        GC.Collect(2); Console.WriteLine($"after 2: {GC.CollectionCount(0) - c0} {GC.CollectionCount(1) - c1} {GC.CollectionCount(2) - c2}");
        GC.Collect(2, GCCollectionMode.Forced, true, true); Console.WriteLine($"after c: {GC.CollectionCount(0) - c0} {GC.CollectionCount(1) - c1} {GC.CollectionCount(2) - c2}");
        Try("collect -1", () => GC.Collect(-1));
        Try("collect 99", () => GC.Collect(99));
        Try("collect mode", () => GC.Collect(0, (GCCollectionMode)9));
        Try("count -1", () => GC.CollectionCount(-1));
        Try("count 3", () => GC.CollectionCount(3));
        Try("count 9", () => GC.CollectionCount(9));
        // generations
        object o = new object(); Console.WriteLine($"gen new {GC.GetGeneration(o)}");
        GC.Collect(0); int g1 = GC.GetGeneration(o); GC.Collect(1); int g2 = GC.GetGeneration(o); GC.Collect(); Console.WriteLine($"gens {g1} {g2} {GC.GetGeneration(o)}");
        Console.WriteLine($"gen large {GC.GetGeneration(new byte[85000])} small {GC.GetGeneration(new byte[84000])} literal {GC.GetGeneration("abc") >= 2} null"); 
        Try("gen null", () => GC.GetGeneration((object)null));
        Try("gen weak", () => GC.GetGeneration(new WeakReference(o)));
        Try("gen weak dead", () => GC.GetGeneration(new WeakReference(null)));
        GC.KeepAlive(o);
        // total memory / allocated
        long t0 = GC.GetTotalMemory(true); var big = new byte[50_000_000]; long t1 = GC.GetTotalMemory(false); Console.WriteLine($"total grows {(t1 - t0) / 1_000_000}"); 
        GC.KeepAlive(big); big = null;
        long t2 = GC.GetTotalMemory(true); Console.WriteLine($"total back {Math.Abs(t2 - t0) < 1_000_000}");
        long a0 = GC.GetAllocatedBytesForCurrentThread(); for (int i = 0; i < 1000; i++) keep = new byte[1000]; long a1 = GC.GetAllocatedBytesForCurrentThread(); Console.WriteLine($"thread allocated {a1 - a0}");
        a0 = GC.GetTotalAllocatedBytes(true); for (int i = 0; i < 1000; i++) keep = new byte[1000]; a1 = GC.GetTotalAllocatedBytes(true); Console.WriteLine($"total allocated {a1 - a0}");
        a0 = GC.GetAllocatedBytesForCurrentThread(); keep = new byte[1000000]; a1 = GC.GetAllocatedBytesForCurrentThread(); Console.WriteLine($"large allocated {a1 - a0}");
        // memory info
        GC.Collect();
        Try("info bad", () => GC.GetGCMemoryInfo((GCKind)7).Generation);
        { var m = GC.GetGCMemoryInfo(); Console.WriteLine($"thresholds {(double)m.HighMemoryLoadThresholdBytes / m.TotalAvailableMemoryBytes:f2} sum {m.GenerationInfo[0].SizeAfterBytes + m.GenerationInfo[1].SizeAfterBytes + m.GenerationInfo[2].SizeAfterBytes > 0} dur {m.PauseDurations[0] > TimeSpan.Zero}");
        }
        Console.WriteLine($"total pause {GC.GetTotalPauseDuration() > TimeSpan.Zero}");
        // latency
        foreach (GCLatencyMode l in new[] { GCLatencyMode.Batch, GCLatencyMode.Interactive, GCLatencyMode.LowLatency, GCLatencyMode.SustainedLowLatency, GCLatencyMode.NoGCRegion, (GCLatencyMode)9 })
            Try("latency " + l, () => { GCSettings.LatencyMode = l; return GCSettings.LatencyMode; });
        GCSettings.LatencyMode = GCLatencyMode.Interactive;
        Try("loh once", () => { GCSettings.LargeObjectHeapCompactionMode = GCLargeObjectHeapCompactionMode.CompactOnce; var before = GCSettings.LargeObjectHeapCompactionMode; GC.Collect(2, GCCollectionMode.Forced, true, true); return before + " " + GCSettings.LargeObjectHeapCompactionMode; });
        Try("loh bad", () => { GCSettings.LargeObjectHeapCompactionMode = (GCLargeObjectHeapCompactionMode)7; });
        // no gc region
        Try("end without", () => GC.EndNoGCRegion());
        Try("start 0", () => GC.TryStartNoGCRegion(0));
        Try("start -1", () => GC.TryStartNoGCRegion(-1));
        Try("start loh>total", () => GC.TryStartNoGCRegion(1000, 2000));
        Try("start 10M", () => GC.TryStartNoGCRegion(10_000_000));
        Try("start twice", () => GC.TryStartNoGCRegion(1000));
        Try("mode in region", () => GCSettings.LatencyMode);
        Try("set mode in region", () => { GCSettings.LatencyMode = GCLatencyMode.Batch; return GCSettings.LatencyMode; });
        int n0 = GC.CollectionCount(0); for (int i = 0; i < 90; i++) keep = new byte[50_000]; Console.WriteLine($"collections in region {GC.CollectionCount(0) - n0}");
        Try("end", () => GC.EndNoGCRegion());
        Try("mode after", () => GCSettings.LatencyMode);
        Try("start small", () => GC.TryStartNoGCRegion(200_000));
        Alloc(600);
        Try("end exceeded", () => GC.EndNoGCRegion());
        Try("start small", () => GC.TryStartNoGCRegion(200_000));
        GC.Collect();
        Try("end induced", () => GC.EndNoGCRegion());
        Try("start 4M nofull", () => GC.TryStartNoGCRegion(4_000_000, true));
        Try("end", () => GC.EndNoGCRegion());
        Try("start 4M,1M", () => GC.TryStartNoGCRegion(4_000_000, 1_000_000));
        Try("end", () => GC.EndNoGCRegion());
        // callback
        Try("callback outside", () => GC.RegisterNoGCRegionCallback(1000, () => { }));
        using (var ev = new ManualResetEventSlim()) {
            Try("start cb", () => GC.TryStartNoGCRegion(20_000_000));
            Try("register -1", () => GC.RegisterNoGCRegionCallback(-1, () => { }));
            Try("register 0", () => GC.RegisterNoGCRegionCallback(0, () => { }));
            Try("register null", () => GC.RegisterNoGCRegionCallback(1000, null));
            Try("register too much", () => GC.RegisterNoGCRegionCallback(1L << 40, () => { }));
            Try("register", () => GC.RegisterNoGCRegionCallback(4_000_000, () => ev.Set()));
            Try("register again", () => GC.RegisterNoGCRegionCallback(4_000_000, () => ev.Set()));
            for (int i = 0; i < 200 && !ev.IsSet; i++) { keep = new byte[50_000]; if (i > 150) Thread.Sleep(1); }
            Console.WriteLine($"callback ran {ev.Wait(2000)}");
            Try("end", () => GC.EndNoGCRegion());
        }
        // pressure
        Try("pressure 0", () => GC.AddMemoryPressure(0));
        Try("pressure -1", () => GC.AddMemoryPressure(-1));
        Try("rpressure 0", () => GC.RemoveMemoryPressure(0));
        int p0 = GC.CollectionCount(0); for (int i = 0; i < 200; i++) GC.AddMemoryPressure(10_000_000); Console.WriteLine($"pressure collects {GC.CollectionCount(0) > p0}"); for (int i = 0; i < 200; i++) GC.RemoveMemoryPressure(10_000_000);
        // full GC notifications
        Try("register full 0", () => GC.RegisterForFullGCNotification(0, 10));
        Try("register full 100", () => GC.RegisterForFullGCNotification(10, 100));
        // misc
        Try("refresh", () => GC.RefreshMemoryLimit());
        Try("suppress null", () => GC.SuppressFinalize(null));
        Try("rereg null", () => GC.ReRegisterForFinalize(null));
        Try("wfpf", () => GC.WaitForPendingFinalizers());
        Try("uninit", () => GC.AllocateUninitializedArray<byte>(100000).Length);
        Try("pinned", () => { var a = GC.AllocateArray<byte>(100, true); return GC.GetGeneration(a) + " " + a.Length; });
        Try("pinned ref", () => GC.AllocateArray<string>(10, true).Length);
        Try("neg", () => GC.AllocateArray<byte>(-1).Length);
        Try("keepalive", () => GC.KeepAlive(null));
        return 100;
    }
}
