using System;
using System.Collections.Generic;
using System.Linq;

// The first program: what a newcomer runs with `cargo xtask run samples/hello/hello.dll Ada`.
class Program
{
    static int Parse(string text)
    {
        if (!int.TryParse(text, out int value))
            throw new FormatException($"'{text}' is not a number");
        return value;
    }

    static int Main(string[] args)
    {
        string name = args.Length > 0 ? args[0] : "world";
        Console.WriteLine($"Hello, {name}! The answer is {6 * 7}.");
        Console.WriteLine($"{args.Length} argument(s): {string.Join(", ", args)}");

        var squares = Enumerable.Range(1, 10).Where(n => n % 2 == 1).Select(n => n * n);
        Console.WriteLine($"odd squares: {string.Join(" ", squares)}, sum {squares.Sum()}");

        var lengths = new Dictionary<string, int>();
        foreach (string word in "the quick brown fox jumps over the lazy dog".Split(' '))
            lengths[word] = word.Length;
        foreach (var (word, length) in lengths.OrderByDescending(p => p.Value).ThenBy(p => p.Key, StringComparer.Ordinal).Take(3))
            Console.WriteLine($"{word,-6}{length,3}");

        try
        {
            Console.WriteLine(Parse("twelve"));
        }
        catch (FormatException e)
        {
            Console.WriteLine($"caught {e.GetType().Name}: {e.Message}");
        }
        return 0;
    }
}
