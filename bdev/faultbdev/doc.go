// Package faultbdev fails, loses, tears and corrupts chosen operations of another backend.
//
// What happens to which operations is said by rules, which may be added and removed at any time:
//
//	faults := faultbdev.New(lower)
//	dev, err := bdev.New("faulty", faults, bdev.Options{})
//	// The third write to the first 4 KiB fails.
//	faults.Inject(faultbdev.Rule{Ops: faultbdev.Writes, Length: 4096, Skip: 2, Fault: faultbdev.Fail(bdev.ErrIO)})
//	// Every read of byte 70000 finds a flipped bit.
//	faults.Inject(faultbdev.Rule{Ops: faultbdev.Reads, Offset: 70000, Length: 1, Count: faultbdev.Always, Fault: faultbdev.Corrupt()})
//
// The first rule that matches a request and is not used up decides; those after it do not count the request.
// Operations are counted as the backend below would see them: split, and with emulated ones taken apart.
//
// A device that drops what it held when its flush fails is simulated by crashbdev.Disk.FailFlush.
package faultbdev
