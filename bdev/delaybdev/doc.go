// Package delaybdev adds latency to the operations of another backend: a slow disk on a fast machine.
//
//	slow := delaybdev.New(lower, 1)
//	slow.Set(bdev.OpFlush, delaybdev.Latency{Typical: 2 * time.Millisecond, Tail: 50 * time.Millisecond})
//	dev, err := bdev.New("slow", slow, bdev.Options{})
//
// An operation is carried out when it is submitted and completes no sooner than its delay later, so delays of
// concurrent operations overlap, as on a device with internal parallelism.
package delaybdev
