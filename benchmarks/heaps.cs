// Programs that keep about 200 MB alive in one shape and allocate beside it, for the collector's pauses.
// Usage: heaps SHAPE [SECONDS]; `corten --stats gc heaps.dll trees` prints the pauses. Without arguments: the shapes.
using System;
using System.Collections.Generic;
using System.Diagnostics;

static class Heaps
{
    sealed class Tree
    {
        public Tree? Left, Right;
        public Tree(int depth) { if (depth > 0) { Left = new Tree(depth - 1); Right = new Tree(depth - 1); } }
        public int Count() => 1 + (Left?.Count() ?? 0) + (Right?.Count() ?? 0);
    }

    sealed class Node { public Node? Next; public long Value; }

    sealed class Edge { public Vertex? To; public Edge? More; }
    sealed class Vertex { public Edge? Edges; public int Id; public string Name = ""; }

    static uint seed = 12345;
    static int Random(int below) { seed = seed * 1664525 + 1013904223; return (int)((ulong)seed * (ulong)below >> 32); }

    static int Main(string[] args)
    {
        var shapes = new Dictionary<string, Func<Func<long>>>
        {
            ["trees"] = Trees, ["list"] = List, ["shuffled"] = Shuffled, ["graph"] = Graph, ["tables"] = Tables, ["arrays"] = Arrays,
        };
        if (args.Length == 0) { foreach (string name in shapes.Keys) Console.WriteLine(name); return 0; }
        if (!shapes.TryGetValue(args[0], out var shape)) { Console.Error.WriteLine($"no shape {args[0]}"); return 2; }
        double seconds = args.Length > 1 ? double.Parse(args[1], System.Globalization.CultureInfo.InvariantCulture) : 4;
        Func<long> step = shape();
        var clock = Stopwatch.StartNew();
        double worst = 0;
        long steps = 0, sum = 0;
        while (clock.Elapsed.TotalSeconds < seconds)
        {
            double before = clock.Elapsed.TotalMilliseconds;
            sum += step();
            worst = Math.Max(worst, clock.Elapsed.TotalMilliseconds - before);
            steps++;
        }
        Console.WriteLine($"{args[0]}: {GC.GetTotalMemory(false) >> 20} MB, {steps} steps, longest {worst:f1} ms, {GC.CollectionCount(2)} full collections of {GC.CollectionCount(0)}");
        return sum == 42 ? 1 : 0;
    }

    // Sixteen trees of 2^18 nodes; each step replaces a subtree.
    static Func<long> Trees()
    {
        var trees = new Tree[24];
        for (int i = 0; i < trees.Length; i++) trees[i] = new Tree(17);
        return () =>
        {
            Tree at = trees[Random(trees.Length)];
            for (int i = 0; i < 8; i++) at = (Random(2) == 0 ? at.Left : at.Right)!;
            if (Random(2) == 0) at.Left = new Tree(8); else at.Right = new Tree(8);
            return 1;
        };
    }

    // One list in the order of allocation; each step drops some at the front and adds some at the end.
    static Func<long> List()
    {
        Node head = new(), tail = head;
        for (int i = 0; i < 6_500_000; i++) { var node = new Node { Value = i }; tail.Next = node; tail = node; }
        return () =>
        {
            long sum = 0;
            for (int i = 0; i < 500; i++) { sum += head.Value; head = head.Next!; var node = new Node { Value = i }; tail.Next = node; tail = node; }
            return sum & 1;
        };
    }

    // Sixty-four lists through nodes in random order, so that no two neighbours share a cache line.
    static Func<long> Shuffled()
    {
        var nodes = new Node[5_500_000];
        for (int i = 0; i < nodes.Length; i++) nodes[i] = new Node { Value = i };
        for (int i = nodes.Length - 1; i > 0; i--) { int j = Random(i + 1); (nodes[i], nodes[j]) = (nodes[j], nodes[i]); }
        var heads = new Node[64];
        for (int i = 0; i < nodes.Length; i++) { nodes[i].Next = heads[i % 64]; heads[i % 64] = nodes[i]; }
        nodes = null!;
        return () =>
        {
            int list = Random(64);
            for (int i = 0; i < 200; i++) { heads[list] = new Node { Next = heads[list].Next!.Next, Value = i }; heads[list] = new Node { Next = heads[list] }; }
            return 1;
        };
    }

    // A graph of vertices with lists of edges to random others; each step rewires some.
    static Func<long> Graph()
    {
        var all = new Vertex[500_000];
        for (int i = 0; i < all.Length; i++) all[i] = new Vertex { Id = i, Name = "vertex " + i };
        for (int i = 0; i < all.Length * 6; i++) { Vertex from = all[Random(all.Length)]; from.Edges = new Edge { To = all[Random(all.Length)], More = from.Edges }; }
        return () =>
        {
            long sum = 0;
            for (int i = 0; i < 50; i++)
            {
                Vertex v = all[Random(all.Length)];
                if (v.Edges != null) v.Edges = v.Edges.More;
                Vertex w = all[Random(all.Length)];
                w.Edges = new Edge { To = v, More = w.Edges };
                w.Name = "renamed " + i;
                sum += w.Name.Length;
            }
            return sum & 1;
        };
    }

    // Dictionaries of strings; each step replaces entries.
    static Func<long> Tables()
    {
        var tables = new Dictionary<string, string>[40];
        for (int i = 0; i < tables.Length; i++)
        {
            tables[i] = new Dictionary<string, string>();
            for (int j = 0; j < 30_000; j++) tables[i]["key " + j] = "value " + i + " " + j;
        }
        return () =>
        {
            var table = tables[Random(tables.Length)];
            for (int i = 0; i < 50; i++) { int key = Random(30_000); table["key " + key] = "value " + key; }
            return 1;
        };
    }

    // Arrays of arrays of small objects, each replaced as a whole now and then.
    static Func<long> Arrays()
    {
        var rows = new object[4000][];
        for (int i = 0; i < rows.Length; i++) rows[i] = Row(i);
        return () => { int i = Random(rows.Length); rows[i] = Row(i); return rows[i].Length & 1; };
        static object[] Row(int i)
        {
            var row = new object[1000];
            for (int j = 0; j < row.Length; j++) row[j] = (object)((long)i * j);
            for (int j = 0; j < row.Length; j += 5) row[j] = new byte[20 + j % 90];
            return row;
        }
    }
}
