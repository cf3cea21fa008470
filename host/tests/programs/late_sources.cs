// Event sources of the class library: whoever looks finds all of them, whatever has used them before.
using System;
using System.Collections.Generic;
using System.Diagnostics.Tracing;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;

sealed class Own : EventSource
{
    public static readonly Own Log = new Own();
    Own() : base("Corten-Test-Own") { }
    [Event(1)] public void Said(int n) { if (IsEnabled()) WriteEvent(1, n); }
}

sealed class Listener : EventListener
{
    public readonly List<string> Created = new List<string>();
    public readonly List<string> Seen = new List<string>();
    protected override void OnEventSourceCreated(EventSource s)
    {
        lock (this) if (Created != null) Created.Add(s.Name);
    }
    protected override void OnEventWritten(EventWrittenEventArgs e)
    {
        lock (this) Seen.Add(e.EventSource.Name + "/" + e.EventId);
    }
}

class Program
{
    static async Task<int> Slow(int n) { await Task.Yield(); return n; }

    static int Main()
    {
        // The task library and the thread pool use their sources.
        int sum = 0;
        for (int i = 0; i < 10; i++) sum += Slow(i).Result;
        Console.WriteLine(sum);
        GC.Collect();
        GC.Collect();
        string[] names = EventSource.GetSources().Select(s => s.Name).Where(n => n.StartsWith("Microsoft-Windows") || n.StartsWith("System.R") || n.StartsWith("System.Threading") || n.StartsWith("System.Diag")).OrderBy(n => n, StringComparer.Ordinal).ToArray();
        foreach (string n in names) Console.WriteLine(n);
        EventSource tpl = EventSource.GetSources().Single(s => s.Name == "System.Threading.Tasks.TplEventSource");
        Console.WriteLine(tpl.Guid + " " + tpl.IsEnabled() + " " + (tpl.ConstructionException == null));
        using (var listener = new Listener())
        {
            Console.WriteLine(listener.Created.Contains("System.Threading.Tasks.TplEventSource"));
            listener.EnableEvents(tpl, EventLevel.Verbose, (EventKeywords)(-1));
            Console.WriteLine(tpl.IsEnabled());
            Slow(1).Wait();
            var t = Task.Run(() => 5);
            t.Wait();
            listener.DisableEvents(tpl);
            Console.WriteLine(tpl.IsEnabled());
            lock (listener) Console.WriteLine(listener.Seen.Any(s => s.StartsWith("System.Threading.Tasks.TplEventSource/")));
            Own.Log.Said(1);
            listener.EnableEvents(Own.Log, EventLevel.Verbose);
            Own.Log.Said(2);
            lock (listener) Console.WriteLine(listener.Seen.Count(s => s == "Corten-Test-Own/1"));
        }
        return 100;
    }
}
