package nvmetest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/blobkv/blobkv/nvme"
)

// BlockSize is that of the namespaces that Number fills and a Reader reads, in bytes.
const BlockSize = 4096

// Number fills whole blocks, the first of which has a number: each 8 bytes hold that of their block.
func Number(p []byte, block uint64) {
	for at := 0; at < len(p); at += 8 {
		binary.LittleEndian.PutUint64(p[at:], block+uint64(at/BlockSize))
	}
}

// Numbered tells whether p holds what Number writes.
func Numbered(p []byte, block uint64) bool {
	for at := 0; at < len(p); at += 8 {
		if binary.LittleEndian.Uint64(p[at:]) != block+uint64(at/BlockSize) {
			return false
		}
	}
	return true
}

// Reader keeps a number of reads of random blocks outstanding.
type Reader struct {
	q      *nvme.Queue
	blocks uint64
	rng    *rand.Rand
	free   []*nvme.Request
	done   []*nvme.Request
}

// NewReader reads the first blocks of a namespace into mem, which has room for as many blocks as depth.
func NewReader(q *nvme.Queue, ns *nvme.Namespace, blocks uint64, mem []byte, depth int) *Reader {
	r := &Reader{q: q, blocks: blocks, rng: rand.New(rand.NewPCG(1, 2)), done: make([]*nvme.Request, depth)}
	for i := range depth {
		r.free = append(r.free, &nvme.Request{Op: nvme.OpRead, NS: ns, Buf: mem[i*BlockSize:][:BlockSize]})
	}
	return r
}

// Run carries n reads out. With check, their content has to be what Number has written.
func (r *Reader) Run(n int, check bool) error {
	started, finished := 0, 0
	for finished < n {
		k := min(len(r.free), n-started)
		for _, q := range r.free[:k] {
			q.LBA = r.rng.Uint64N(r.blocks)
		}
		if k > 0 && r.q.Submit(r.free[:k]) != k {
			return errors.New("the queue is full")
		}
		r.free, started = r.free[:copy(r.free, r.free[k:])], started+k
		got := r.q.Poll(r.done)
		for _, q := range r.done[:got] {
			if q.Err != nil {
				return q.Err
			}
			if check && !Numbered(q.Buf, q.LBA) {
				return fmt.Errorf("block %d holds something else", q.LBA)
			}
		}
		r.free, finished = append(r.free, r.done[:got]...), finished+got
	}
	return nil
}
