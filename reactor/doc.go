// Package reactor runs background work on dedicated event loops.
//
// A Reactor is one goroutine locked to one operating system thread, optionally pinned to CPUs. Each pass of its loop
// runs the messages that other goroutines have sent, calls every armed poller once and then the timed pollers whose
// time has come. It carries what nobody waits for synchronously: completions of read-ahead and write-behind,
// keep-alives, checkpoints, rate limits. The synchronous read and write path stays on its caller's goroutine and
// never crosses a reactor.
//
// # Who may call what
//
// Send, Register, RegisterTimed, RegisterWith, Stop and Stats may be called from any goroutine and from inside a
// callback, and so may the methods of a Poller. Callbacks (messages and poll functions) run on the reactor, one at a
// time, and must not block: a callback that blocks stalls everything else on that reactor. The one exception is
// PollerOptions.Wait, which exists to block for a bounded time.
//
// Three promises are what code built on a reactor leans on:
//   - an accepted message (Send returned true) runs exactly once, before Stop returns;
//   - once Unregister has returned on another goroutine, the poll function is not running and never runs again;
//   - once Stop has returned on another goroutine, no callback runs and the loop's goroutine is gone.
//
// # Waiting
//
// The mode says what the loop does when a pass found nothing to do. Adaptive polls on for a short time after work and
// then sleeps until the next timer or message; Sleep does not poll on; Poll never sleeps. A reactor without armed
// pollers sleeps without a timeout and costs no CPU. Armed pollers without a Wait function cannot announce work, so
// the loop sleeps in short, growing steps between polls: arm a poller only while there is something to poll for.
//
// # Reading order
//
// reactor.go (life cycle), loop.go (one pass, sleeping), poller.go, timers.go, mailbox.go, stats.go. Package
// reactortest steps reactors one pass at a time under a virtual clock, in an order drawn from a seed.
package reactor
