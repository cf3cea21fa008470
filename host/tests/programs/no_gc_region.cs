// Regions without collections: what starts them, what ends them, what is refused.
using System;
using System.Runtime;

static class Program
{
    static object[] keep = new object[1000];

    static int Main()
    {
        Console.WriteLine(GCSettings.LatencyMode == GCLatencyMode.NoGCRegion);
        Console.WriteLine(GC.TryStartNoGCRegion(20_000_000));
        Console.WriteLine(GCSettings.LatencyMode);
        int before = GC.CollectionCount(0);
        for (int i = 0; i < 18_000; i++) keep[i % 1000] = new byte[1000];
        Console.WriteLine(GC.CollectionCount(0) - before);
        try { GCSettings.LatencyMode = GCLatencyMode.Batch; } catch (InvalidOperationException) { Console.WriteLine("fixed"); }
        GC.EndNoGCRegion();
        Console.WriteLine(GCSettings.LatencyMode == GCLatencyMode.NoGCRegion);
        try { GC.EndNoGCRegion(); } catch (InvalidOperationException) { Console.WriteLine("not in progress"); }

        Console.WriteLine(GC.TryStartNoGCRegion(10_000_000, 8_000_000));
        before = GC.CollectionCount(0);
        for (int i = 0; i < 7; i++) keep[i] = new byte[1_000_000];
        Console.WriteLine(GC.CollectionCount(0) - before);
        GC.EndNoGCRegion();

        Console.WriteLine(GC.TryStartNoGCRegion(5_000_000));
        GC.Collect();
        Console.WriteLine(GCSettings.LatencyMode == GCLatencyMode.NoGCRegion);
        try { GC.EndNoGCRegion(); } catch (InvalidOperationException) { Console.WriteLine("collected"); }

        try { GC.TryStartNoGCRegion(-1); } catch (ArgumentOutOfRangeException) { Console.WriteLine("negative"); }
        try { GC.TryStartNoGCRegion(1000, 2000); } catch (ArgumentOutOfRangeException) { Console.WriteLine("large of total"); }
        try { GC.TryStartNoGCRegion(long.MaxValue); } catch (ArgumentOutOfRangeException) { Console.WriteLine("too large"); }

        Console.WriteLine(GC.TryStartNoGCRegion(1_000_000));
        try { GC.TryStartNoGCRegion(1000); } catch (InvalidOperationException) { Console.WriteLine("already"); }
        // The refused attempt has ended the region.
        try { GC.EndNoGCRegion(); } catch (InvalidOperationException) { Console.WriteLine("not in progress"); }
        return 100;
    }
}
