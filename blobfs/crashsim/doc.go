// Package crashsim cuts the power under a file system and judges what recovery makes of it.
//
// A case is a list of operations ([Op]) on a small simulated disk. While they run, the simulator takes the states that
// the media may be in if the power goes at that moment: before and after each flush, between operations, and at writes
// inside a flush window; with unflushed writes lost in any subset, landed in any order and torn at 512 bytes. Each
// state is then recovered, sometimes with the power going again meanwhile, and compared with a [Model]: what an
// application may rely on, written down as plainly as possible. The file system that comes back must also pass
// blobfs.Check, have its free space accounted for to the cluster, and be usable.
//
// There are two sources of cases:
//
//   - [Sequences]: every sequence of one or two operations from every state of two files, each cut everywhere;
//   - [Random]: long lives of a disk with several directories, files and handles, or several goroutines, each cut at
//     some places and continued from what recovery left.
//
// [FailEvery] uses the same parts for another question: what if an operation of the device fails? It fails each in turn.
//
// A [Failure] says what went wrong, prints the operations that led there, made fewer where that is cheap, and the
// command that does it again. cmd/crashsim runs any number of cases; make test runs a part of them.
//
// # Reading order
//
// model.go and file.go (the specification), op.go (operations), runner.go (carries them out, and tells the model),
// disk.go and fate.go (where the power goes and what that leaves), verify.go (recovery), sequences.go, random.go and
// shrink.go (cases), faults.go, sim.go (many at once).
package crashsim
