// Package crashbdev is a block device in memory whose power can be cut at any operation. It is the device that
// everything above must survive.
//
// A Disk keeps what a flush has made durable apart from what has merely been written. Cut draws from a seed one of
// the states that the media may be in after a power cut: unflushed writes are lost in any subset, have landed in any
// order, and are torn at Options.AtomicWriteUnit. What the device promises is what package bdev documents, and not
// one bit more:
//
//   - a write completed before a flush was submitted is durable when that flush completes;
//   - a write that was still in flight when the flush was submitted is not, even if it completes before the flush;
//   - a FUA write is durable when it completes, and says nothing about other writes;
//   - unmap and write zeroes are writes of zeros, so until a flush covers them a cut may bring the old data back;
//   - the live device always reads what was written last.
//
// A power-cut test runs its workload on a Disk with CutAfter(n), for n = 1, 2, 3 …, until the workload ends without
// an error; it takes the device after each cut and checks what it promises:
//
//	disk := crashbdev.New(crashbdev.Options{Size: 8 << 20})
//	disk.CutAfter(n)
//	dev, err := disk.Open("disk")
//	…                              // the workload, which fails with ErrPoweredOff sooner or later
//	dev, err = disk.Cut(crashbdev.Random, seed).Open("after")
//
// A Disk with one submitting goroutine behaves the same in every run of the same seed. Unflushed writes are kept in
// memory in full.
package crashbdev
