package main

import (
	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/nvme/softctrl"
)

// exportBatch is how many requests the device hands out at once.
const exportBatch = 32

// exportQueue is a channel of the exported device as the queue of a software controller (softctrl.StorageQueue).
type exportQueue struct {
	storage      exportStorage
	channel      *bdev.Channel
	requests     []*bdev.Request // by tag
	waiting      []*bdev.Request // that the channel has not taken
	takes        [softctrl.StorageFlush + 1]bool
	takesDurable bool
	done         [exportBatch]*bdev.Request
	ended        []*bdev.Request // of done, not yet handed out
}

// queuedStorage is exportStorage of a device that works on many requests at a time by itself (softctrl.QueuedStorage).
type queuedStorage struct{ exportStorage }

// OpenQueue opens a channel of the device.
func (s queuedStorage) OpenQueue(tags int) (softctrl.StorageQueue, error) {
	c, err := s.dev.OpenChannel()
	if err != nil {
		return nil, err
	}
	q := &exportQueue{storage: s.exportStorage, channel: c, takesDurable: s.dev.Properties().FUA}
	for kind, op := range exportOps {
		q.takes[kind] = s.queues(op)
	}
	for tag := range tags {
		r := bdev.GetRequest()
		r.Tag = uint64(tag)
		q.requests = append(q.requests, r)
	}
	return q, nil
}

var exportOps = [...]bdev.Op{softctrl.StorageRead: bdev.OpRead, softctrl.StorageWrite: bdev.OpWrite, softctrl.StorageFlush: bdev.OpFlush}

// Start keeps an operation until Poll.
func (q *exportQueue) Start(tag int, o softctrl.StorageOp) bool {
	if !q.takes[o.Kind] || o.Durable && !q.takesDurable {
		return false
	}
	r := q.requests[tag]
	r.Op, r.FUA, r.Buf, r.Offset = exportOps[o.Kind], o.Durable, o.Buf, o.Offset
	q.waiting = append(q.waiting, r)
	return true
}

func (q *exportQueue) submit() {
	n := q.channel.Submit(q.waiting)
	q.waiting = q.waiting[:copy(q.waiting, q.waiting[n:])]
}

// Poll hands out what the device has done.
func (q *exportQueue) Poll(wait bool, ended func(tag int, err error)) (n int) {
	if len(q.waiting) > 0 {
		q.submit()
	}
	for {
		if len(q.ended) == 0 {
			q.ended = q.done[:q.poll(wait && n == 0)]
		}
		if len(q.ended) == 0 {
			return n
		}
		for len(q.ended) > 0 {
			r := q.ended[0]
			q.ended = q.ended[1:] // before a panic in ended
			n++
			ended(int(r.Tag), q.storage.told(r.Err()))
		}
	}
}

func (q *exportQueue) poll(wait bool) int {
	if wait {
		return q.channel.Wait(q.done[:])
	}
	return q.channel.Poll(q.done[:])
}

// Close closes the channel.
func (q *exportQueue) Close() error {
	for _, r := range q.requests {
		bdev.PutRequest(r)
	}
	return q.channel.Close()
}
