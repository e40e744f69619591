package nvme_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/spec"
)

// FuzzIdentify: whatever identify says, Open ends within its bound, and what it lets through can be read from and written to
// without leaving a buffer.
func FuzzIdentify(f *testing.F) {
	f.Add(uint8(spec.CNSController), uint16(77), []byte{1})
	f.Add(uint8(spec.CNSNamespace), uint16(26), []byte{0x1F, 3, 7, 9})
	f.Add(uint8(spec.CNSActiveList), uint16(0), []byte{1, 0, 0, 0, 2, 0, 0, 0})
	f.Add(uint8(spec.CNSDescriptors), uint16(0), []byte{4, 1, 0, 0, 2})
	f.Add(uint8(spec.CNSNamespaceCSI), uint16(12), []byte{0xFF, 0xFF})
	f.Fuzz(func(t *testing.T, cns uint8, offset uint16, lie []byte) {
		s := setup{o: nvme.Options{AdminTimeout: time.Second}, tr: softctrl.TransportOptions{NoReset: true}}
		s.cfg.MangleIdentify = func(c, csi uint8, nsid uint32, page []byte) {
			if c == cns {
				copy(page[int(offset)%len(page):], lie)
			}
		}
		r, err := tryRig(t, s)
		require.Less(t, r.clock.Now(), time.Minute)
		if err != nil {
			return
		}
		defer r.close()
		r.q, err = r.c.OpenQueue(nvme.QueueOptions{})
		require.NoError(t, err)
		r.mem, err = r.c.Alloc(1 << 20)
		require.NoError(t, err)
		for _, n := range r.c.Namespaces() {
			info := n.Info()
			buf, meta := r.mem[:1<<19], r.mem[1<<19:]
			_ = r.do(nvme.Request{Op: nvme.OpRead, NS: n, Buf: buf, Meta: meta[:min(len(meta), len(buf)/info.BlockSize*info.MetaSize)]})
			_ = r.do(nvme.Request{Op: nvme.OpWriteZeroes, NS: n, LBA: info.Blocks - 1, Blocks: 1})
			_ = r.do(nvme.Request{Op: nvme.OpDeallocate, NS: n, Blocks: info.Blocks, LBA: 0, Flags: nvme.FlagNoRetry})
		}
	})
}

// FuzzCompletions: whatever a controller writes into its completion queue, every request comes back within its bound, and the
// driver works again, or says that it does not.
func FuzzCompletions(f *testing.F) {
	f.Add(uint8(0), uint8(14), []byte{0xFF, 0xFF}, uint8(3))
	f.Add(uint8(2), uint8(12), []byte{7, 0}, uint8(1))
	f.Add(uint8(1), uint8(8), []byte{9, 9, 9, 9}, uint8(30))
	f.Add(uint8(3), uint8(0), []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, uint8(200))
	f.Fuzz(func(t *testing.T, skip, offset uint8, lie []byte, times uint8) {
		s := setup{o: nvme.Options{AdminTimeout: time.Second, IOTimeout: ioTimeout, AbortTimeout: abortTimeout, Depth: 16}, tr: softctrl.TransportOptions{NoReset: true}}
		armed, seen := false, 0
		s.cfg.MangleCompletion = func(sqid uint16, entry []byte) {
			if armed && (sqid != 0 || skip&1 != 0) {
				if seen++; seen > int(skip) && seen <= int(skip)+int(times) {
					copy(entry[int(offset)%len(entry):], lie)
				}
			}
		}
		r := newRig(t, s)
		armed = true
		var reqs []*nvme.Request
		for i := range 40 {
			reqs = append(reqs, &nvme.Request{Op: nvme.Op(i % 3), NS: r.ns, LBA: uint64(i), Buf: r.mem[i*blockSize : (i+1)*blockSize]})
		}
		submitted, back := 0, 0
		r.settle("requests did not come back", func() bool {
			submitted += r.q.Submit(reqs[submitted:])
			var done [8]*nvme.Request
			back += r.q.Poll(done[:])
			return back == len(reqs)
		})
		armed = false
		if err := r.c.Reset(); err != nil { // one was under way, and the controller spoiled it
			require.ErrorIs(t, err, nvme.ErrFailed)
			require.NoError(t, r.c.Reset())
		}
		r.works()
	})
}
