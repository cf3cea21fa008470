// SIGTERM ends the process in order: ProcessExit handlers run, and the exit code is theirs to change.
using System; using System.Runtime.InteropServices; using System.Threading;
static class P {
  [DllImport("libc")] static extern int kill(int pid, int signal);
  static int Main() {
    AppDomain.CurrentDomain.ProcessExit += (s, e) => { Console.WriteLine($"process exit, {Environment.ExitCode}"); Environment.ExitCode = 100; };
    try { kill(Environment.ProcessId, 15); Thread.Sleep(60000); } finally { Console.WriteLine("finally"); }
    return 1;
  }
}
