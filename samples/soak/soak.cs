// A soak of collector and threads: soak [SECONDS [THREADS]]. Every thread runs rounds of all kinds of work; what must hold is
// checked all the time, and the sums at the end. Standard output is the same for every duration; figures go to standard error.
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Runtime.CompilerServices;
using System.Threading;

/// A node of the live graph. Its checksum is a function of its key and of its neighbours' keys.
class Node
{
    public int Key;
    public long Sum;
    public Node Left, Right;
    public Node[] Edges;
    public byte[] Payload;

    public static long Expected(int key, int left, int right, int edges, int payload) =>
        unchecked(((key * 31L + left) * 31 + right) * 31 + edges * 7L + payload);

    public long Compute()
    {
        int edges = 0, payload = 0;
        foreach (Node n in Edges) edges += n == null ? -1 : n.Key;
        foreach (byte b in Payload) payload += b;
        return Expected(Key, Left == null ? -1 : Left.Key, Right == null ? -1 : Right.Key, edges, payload);
    }
}

/// Counts how many were made and how many were finalized; some come back to life once.
class Finalizable
{
    public static long Made, Finalized, Revived, Wrong;
    static readonly Finalizable[] revived = new Finalizable[64];
    readonly int[] content;
    bool again;

    public Finalizable(int seed)
    {
        content = new int[8];
        for (int i = 0; i < content.Length; i++) content[i] = seed + i;
        again = seed % 16 == 0;
        Interlocked.Increment(ref Made);
    }

    ~Finalizable()
    {
        // The content must be whole: a finalizer keeps what it refers to alive.
        for (int i = 1; i < content.Length; i++)
            if (content[i] != content[0] + i) Interlocked.Increment(ref Wrong);
        if (again)
        {
            again = false;
            revived[content[0] / 16 % revived.Length] = this;
            Interlocked.Increment(ref Revived);
            GC.ReRegisterForFinalize(this);
            return;
        }
        Interlocked.Increment(ref Finalized);
    }

    public static void Forget() => Array.Clear(revived);
}

class Failed : Exception
{
    public readonly int Depth;
    public Failed(int depth, Exception inner) : base("at " + depth, inner) => Depth = depth;
}

class Soak
{
    static readonly Stopwatch clock = Stopwatch.StartNew();
    static double seconds;
    static int errors;
    static readonly object gate = new object();
    static long guarded, entered, pulses;
    static readonly Queue<int[]> mailbox = new Queue<int[]>();
    static long sent, received;
    static readonly ConditionalWeakTable<object, string> table = new ConditionalWeakTable<object, string>();
    [ThreadStatic] static long perThread;

    static void Fail(string what)
    {
        if (Interlocked.Increment(ref errors) <= 20) Console.WriteLine("WRONG: " + what);
    }

    static Node Make(Random random, int key)
    {
        var node = new Node { Key = key, Edges = new Node[random.Next(4)], Payload = new byte[random.Next(40)] };
        random.NextBytes(node.Payload);
        return node;
    }

    /// A graph of nodes that refer to each other at random; parts are replaced all the time.
    sealed class Graph
    {
        readonly Node[] nodes;
        readonly Random random;
        public Graph(int size, int seed)
        {
            random = new Random(seed);
            nodes = new Node[size];
            for (int i = 0; i < size; i++) nodes[i] = Make(random, i);
            for (int i = 0; i < size; i++) Link(nodes[i]);
        }

        Node Any() => nodes[random.Next(nodes.Length)];

        void Link(Node n)
        {
            n.Left = random.Next(3) == 0 ? null : Any();
            n.Right = random.Next(3) == 0 ? null : Any();
            for (int i = 0; i < n.Edges.Length; i++) n.Edges[i] = random.Next(3) == 0 ? null : Any();
            n.Sum = n.Compute();
        }

        public void Churn(int count)
        {
            for (int i = 0; i < count; i++)
            {
                int at = random.Next(nodes.Length);
                if (random.Next(2) == 0)
                {
                    // Others may still refer to the old node; without links it keeps nothing alive, so that the graph is bounded.
                    Node old = nodes[at];
                    old.Left = old.Right = null;
                    Array.Clear(old.Edges);
                    nodes[at] = Make(random, at);
                }
                Link(nodes[at]);
                Node seen = Any();
                if (seen.Compute() != seen.Sum) Fail("node " + seen.Key + " of the live graph");
            }
        }

        public void Check()
        {
            for (int i = 0; i < nodes.Length; i++)
                if (nodes[i].Key != i || nodes[i].Compute() != nodes[i].Sum) Fail("node " + i + " in the final check");
        }
    }

    static int Throw(int depth, int at)
    {
        if (depth == at) throw new InvalidOperationException("bottom");
        var local = new int[] { depth, at };
        try { return Throw(depth + 1, at) + local[0]; }
        catch (InvalidOperationException e) when (depth % 3 == 0) { throw new Failed(depth, e); }
        finally { if (local[0] != depth || local[1] != at) Fail("a local of a frame that is unwound"); perThread++; }
    }

    static void Exceptions(Random random)
    {
        for (int i = 0; i < 20; i++)
        {
            int at = random.Next(1, 12);
            long before = perThread;
            try { Throw(0, at); Fail("no exception"); }
            catch (Failed e)
            {
                Exception inner = e;
                while (inner.InnerException != null) inner = inner.InnerException;
                if (inner.Message != "bottom" || e.StackTrace == null) Fail("the inner exception");
            }
            if (perThread - before != at) Fail("finally blocks: " + (perThread - before) + " instead of " + at);
        }
    }

    static void Locks(int[] own)
    {
        for (int i = 0; i < 200; i++)
        {
            lock (gate)
            {
                long before = guarded;
                lock (gate) { guarded++; }
                if (guarded != before + 1) Fail("exclusion");
                if (i == 0) { Monitor.PulseAll(gate); pulses++; }
            }
            lock (own) own[0]++;
        }
        Interlocked.Add(ref entered, 200);
        bool taken = false;
        try { Monitor.TryEnter(gate, 1, ref taken); if (taken) Monitor.Wait(gate, 1); }
        finally { if (taken) Monitor.Exit(gate); }
    }

    static void Mail(Random random)
    {
        lock (mailbox)
        {
            var letter = new int[random.Next(1, 50)];
            for (int i = 0; i < letter.Length; i++) letter[i] = letter.Length;
            mailbox.Enqueue(letter);
            sent += letter.Length;
            while (mailbox.Count > 100)
            {
                int[] old = mailbox.Dequeue();
                foreach (int i in old) if (i != old.Length) Fail("a letter");
                received += old.Length;
            }
        }
    }

    static void Weak(Random random, List<WeakReference<Node>> weak, List<Node> strong)
    {
        for (int i = 0; i < 40; i++)
        {
            Node n = Make(random, i);
            weak.Add(new WeakReference<Node>(n));
            if (i % 4 == 0) strong.Add(n);
        }
        if (strong.Count > 400) strong.RemoveRange(0, 200);
        int alive = 0;
        foreach (var w in weak) if (w.TryGetTarget(out Node n)) { alive++; if (n.Key >= 40 || n.Edges == null) Fail("a weak reference"); }
        if (alive < Math.Min(strong.Count, 40 / 4)) Fail("weak references to live objects are gone");
        weak.RemoveAll(w => !w.TryGetTarget(out _));
        if (weak.Count > 20000) weak.Clear();
    }

    static void Attachments(Random random, object[] keys)
    {
        for (int i = 0; i < 30; i++)
        {
            int at = random.Next(keys.Length);
            if (keys[at] != null)
            {
                if (!table.TryGetValue(keys[at], out string text) || text != "attached " + RuntimeHelpers.GetHashCode(keys[at]))
                    Fail("an attachment");
            }
            if (random.Next(3) == 0)
            {
                var key = new object();
                table.Add(key, "attached " + RuntimeHelpers.GetHashCode(key));
                keys[at] = key;
            }
        }
    }

    static void Garbage(Random random)
    {
        object last = null;
        for (int i = 0; i < 400; i++)
        {
            switch (random.Next(8))
            {
                case 0: last = new string('x', random.Next(1, 60)); break;
                case 1: last = new object[] { last, i }; break;
                case 2: last = new Dictionary<int, object> { [i] = last }; break;
                case 3: last = (object)i; break;
                case 4: last = new double[random.Next(64)]; break;
                case 5: last = "a" + i + "b"; break;
                case 6: last = new KeyValuePair<int, object>(i, last); break;
                default: last = new List<int>(random.Next(20)) { i }; break;
            }
            if (i % 50 == 0) last = null;
        }
        if (random.Next(20) == 0)
        {
            var large = new byte[random.Next(90_000, 400_000)];
            large[0] = 1; large[^1] = 2;
            Thread.Yield();
            if (large[0] + large[^1] != 3) Fail("a large array");
        }
        GC.KeepAlive(last);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    static void Finalizables(Random random)
    {
        for (int i = 0; i < 8; i++) new Finalizable(random.Next(1 << 20));
    }

    static void Work(int id, Graph graph)
    {
        var random = new Random(id);
        var own = new int[1];
        var weak = new List<WeakReference<Node>>();
        var strong = new List<Node>();
        var keys = new object[200];
        int rounds = 0;
        while (clock.Elapsed.TotalSeconds < seconds)
        {
            graph.Churn(400);
            Exceptions(random);
            Locks(own);
            Mail(random);
            Weak(random, weak, strong);
            Attachments(random, keys);
            Garbage(random);
            Finalizables(random);
            rounds++;
            if (own[0] != rounds * 200) Fail("the thread's own counter");
            if (rounds % 500 == 0) GC.Collect(random.Next(3));
        }
        graph.Check();
        Console.Error.WriteLine("thread " + id + ": " + rounds + " rounds");
    }

    static long Resident()
    {
        foreach (string line in File.ReadLines("/proc/self/status"))
            if (line.StartsWith("VmRSS:")) return long.Parse(line.Substring(6, line.Length - 9).Trim()) / 1024;
        return 0;
    }

    static int Main(string[] args)
    {
        seconds = args.Length > 0 ? double.Parse(args[0]) : 30;
        int threads = args.Length > 1 ? int.Parse(args[1]) : 8;
        var workers = new Thread[threads];
        for (int i = 0; i < threads; i++)
        {
            int id = i;
            workers[i] = new Thread(() =>
            {
                try { Work(id, new Graph(20_000, id)); }
                catch (Exception e) { Fail("thread " + id + ": " + e); }
            }) { IsBackground = true };
            workers[i].Start();
        }
        // Short-lived threads come and go beside the workers.
        long peak = 0, started = 0, visited = 0;
        while (clock.Elapsed.TotalSeconds < seconds)
        {
            var visitor = new Thread(() => { perThread++; if (perThread != 1) Fail("a thread static"); Garbage(new Random(1)); Interlocked.Increment(ref visited); });
            visitor.Start();
            started++;
            visitor.Join();
            Thread.Sleep(20);
            peak = Math.Max(peak, Resident());
        }
        foreach (Thread t in workers) t.Join();

        for (int i = 0; i < 50 && Volatile.Read(ref Finalizable.Finalized) != Volatile.Read(ref Finalizable.Made); i++)
        {
            Finalizable.Forget();
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }
        long rest = 0;
        foreach (int[] letter in mailbox) rest += letter.Length;
        Console.WriteLine("locks: " + (guarded == entered && guarded > 0 ? "the sums agree" : "WRONG: " + guarded + " of " + entered));
        Console.WriteLine("mail: " + (sent == received + rest && sent > 0 ? "the sums agree" : "WRONG: " + sent + " sent, " + received + " received"));
        Console.WriteLine("finalizers: " + (Finalizable.Made == Finalizable.Finalized && Finalizable.Wrong == 0 && Finalizable.Revived > 0
            ? "each ran, revived objects twice" : "WRONG: " + Finalizable.Made + " made, " + Finalizable.Finalized + " finalized"));
        Console.WriteLine("threads: " + (visited == started && started > 0 ? "all came and went" : "WRONG"));
        // The live graphs are about 5 MB a thread.
        long bound = 120 + 25 * threads;
        Console.WriteLine("memory: " + (peak < bound ? "bounded" : "WRONG: " + peak + " MB of at most " + bound));
        Console.WriteLine(errors == 0 ? "graph, exceptions, weak references, attachments: ok" : errors + " errors");
        Console.Error.WriteLine("peak " + peak + " MB resident; " + Finalizable.Made + " finalizable objects, " + Finalizable.Revived
            + " revived; " + guarded + " locks; " + started + " visitors; collections " + GC.CollectionCount(0) + " " + GC.CollectionCount(2));
        return errors == 0 ? 0 : 1;
    }
}
