package nvmetest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme"
)

// A power cut's workload goes in rounds. A round writes some blocks, each of which says which round it is of, in one of
// several slots; when those are durable, it writes the round's number to block 0 and makes that durable. Whatever block 0
// says after a cut, the blocks of that round and of those before it are there.
const (
	cutSlots  = 32
	cutBlocks = 8 // of a round
)

// ErrLost is durable data that is not there after a power cut.
var ErrLost = errors.New("durable data was lost")

// PowerCut does rounds and tells of each that is durable, then calls cut with a round's writes on their way. Only the
// first namespace is written to; it has no metadata.
func PowerCut(t *testing.T, env DriverEnv, flush bool, rounds int, durable func(round int), cut func()) {
	r := newRig(t, env)
	b := r.blocks()[0]
	require.Zero(t, b.MetaSize)
	settle := func() {
		if flush && b.WriteCache {
			require.NoError(t, r.do(nvme.Request{Op: nvme.OpFlush, NS: b.Namespace}))
		}
	}
	for n := 1; n <= rounds; n++ {
		r.off = 0
		done := make([]*nvme.Request, cutBlocks)
		list := r.round(b, n)
		require.Equal(t, cutBlocks, r.q.Submit(list))
		if n == rounds {
			cut()
			return
		}
		for left := cutBlocks; left > 0; {
			got := r.q.Poll(done)
			for _, q := range done[:got] {
				require.NoError(t, q.Err)
			}
			left -= got
		}
		settle()
		head := nvme.Request{Op: nvme.OpWrite, NS: b.Namespace, Buf: r.buffer(b.BlockSize)}
		cutPattern(head.Buf, n, 0)
		require.NoError(t, r.do(head))
		settle()
		durable(n)
	}
}

// round makes the writes of a round, in an order of its own.
func (r *rig) round(b block, n int) (list []*nvme.Request) {
	for k := 1; k <= cutBlocks; k++ {
		q := &nvme.Request{Op: nvme.OpWrite, NS: b.Namespace, LBA: cutLBA(n, k), Buf: r.buffer(b.BlockSize)}
		cutPattern(q.Buf, n, k)
		list = append(list, q)
	}
	r.rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// cutLBA is where block k of a round goes.
func cutLBA(round, k int) uint64 { return uint64(1 + round%cutSlots*cutBlocks + k) }

// cutPattern fills a block: its round in every 512 bytes, then what only this round and block hold.
func cutPattern(b []byte, round, k int) {
	fill(b, rand.New(rand.NewPCG(uint64(round), uint64(k))))
	for at := 0; at < len(b); at += 512 {
		binary.LittleEndian.PutUint64(b[at:], uint64(round))
	}
}

// CheckPowerCut looks at what a power cut left of PowerCut's rounds, and returns the last round that was durable.
func CheckPowerCut(image io.ReaderAt, blockSize int) (round int, err error) {
	got, want := make([]byte, blockSize), make([]byte, blockSize)
	check := func(n, k int, lba uint64) error {
		if _, err := image.ReadAt(got, int64(lba)*int64(blockSize)); err != nil {
			return err
		}
		if cutPattern(want, n, k); !bytes.Equal(got, want) {
			return fmt.Errorf("block %d of round %d of %d: %w", k, n, round, ErrLost)
		}
		return nil
	}
	if _, err := image.ReadAt(got, 0); err != nil {
		return 0, err
	}
	if round = int(binary.LittleEndian.Uint64(got)); round == 0 && bytes.Equal(got, want) {
		return 0, nil // no round was
	}
	if blockSize == 512 { // the head of a larger block may be torn between two rounds
		if err := check(round, 0, 0); err != nil {
			return round, err
		}
	}
	for n := max(1, round-cutSlots+2); n <= round; n++ { // the next round has begun to write over the oldest
		for k := 1; k <= cutBlocks; k++ {
			if err := check(n, k, cutLBA(n, k)); err != nil {
				return round, err
			}
		}
	}
	return round, nil
}
