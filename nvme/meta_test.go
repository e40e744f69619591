package nvme_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/spec"
)

const allChecks = spec.PRCHKGuard | spec.PRCHKApp | spec.PRCHKRef

// TestMetadata: every layout of metadata and protection, with splits.
func TestMetadata(t *testing.T) {
	for _, bs := range []int{512, 4096} {
		for _, ms := range []int{8, 16, 64} {
			for _, extended := range []bool{false, true} {
				for pi := range uint8(4) {
					for _, first := range []bool{false, true} {
						if first && (pi == 0 || ms == 8) {
							continue
						}
						n := softctrl.NamespaceConfig{BlockSize: bs, MetaSize: ms, Extended: extended, Protection: pi, First: first}
						t.Run(fmt.Sprintf("%d+%d extended %v type %d first %v", bs, ms, extended, pi, first), func(t *testing.T) {
							n.Storage = ram(t, 1<<20, false)
							testMetadata(t, n)
						})
					}
				}
			}
		}
	}
}

func testMetadata(t *testing.T, n softctrl.NamespaceConfig) {
	rng := newRand(t)
	r := newRig(t, setup{cfg: softctrl.Config{MDTS: 3, Namespaces: []softctrl.NamespaceConfig{n}}})
	info := r.ns.Info()
	require.Equal(t, n.BlockSize, info.BlockSize)
	require.Equal(t, n.MetaSize, info.MetaSize)
	require.Equal(t, n.Extended, info.Extended)
	require.Equal(t, n.Protection, info.Protection)
	unit := n.BlockSize
	if n.Extended {
		unit += n.MetaSize
	}
	const blocks, lba = 37, 20
	w, meta := r.buf(blocks*unit, rng), r.buf(blocks*n.MetaSize, rng)
	b, back := r.buf(blocks*unit, nil), r.buf(blocks*n.MetaSize, nil)
	if n.Extended {
		meta, back = nil, nil
	}
	p := nvme.Protect{RefTag: lba, App: 0x1234, AppMask: 0xFFFF}
	if n.Protection != 0 {
		p.Flags = allChecks
		require.NoError(t, info.InsertProtection(w, meta, p))
	}
	require.NoError(t, r.do(nvme.Request{Op: nvme.OpWrite, NS: r.ns, LBA: lba, Buf: w, Meta: meta, PI: p}))
	require.NoError(t, r.do(nvme.Request{Op: nvme.OpRead, NS: r.ns, LBA: lba, Buf: b, Meta: back, PI: p}))
	require.Equal(t, w, b)
	require.Equal(t, meta, back)
	if n.Protection != 0 {
		require.NoError(t, info.CheckProtection(b, back, p))
		r.damage(n, lba+30, b, back, p)
		if n.MetaSize == spec.PISize {
			r.inserted(lba, blocks, p)
		}
	} else {
		require.ErrorIs(t, info.CheckProtection(b, back, p), nvme.ErrInvalid)
	}
}

// damage spoils one stored block, which both the controller and the host notice.
func (r *rig) damage(n softctrl.NamespaceConfig, lba uint64, b, back []byte, p nvme.Protect) {
	t, info := r.t, r.ns.Info()
	read := nvme.Request{Op: nvme.OpRead, NS: r.ns, LBA: 20, Buf: b, Meta: back, PI: p}
	block := make([]byte, 1)
	at := int64(lba) * int64(n.BlockSize)
	_, err := n.Storage.ReadAt(block, at)
	require.NoError(t, err)
	block[0] ^= 1
	_, err = n.Storage.WriteAt(block, at)
	require.NoError(t, err)
	require.ErrorIs(t, r.do(read), nvme.ErrProtection)
	require.ErrorIs(t, r.do(nvme.Request{Op: nvme.OpVerify, NS: r.ns, LBA: 20, Blocks: 37, PI: p}), nvme.ErrProtection)
	unchecked := read
	unchecked.PI.Flags = 0
	require.NoError(t, r.do(unchecked))
	require.ErrorIs(t, info.CheckProtection(b, back, p), nvme.ErrProtection)
	block[0] ^= 1
	_, err = n.Storage.WriteAt(block, at)
	require.NoError(t, err)
	wrong := read
	wrong.PI.App++
	require.ErrorIs(t, r.do(wrong), nvme.ErrProtection)
	wrong = read
	wrong.PI.RefTag++
	if n.Protection == 3 {
		require.NoError(t, r.do(wrong), "type 3 has no reference tags to check")
	} else {
		require.ErrorIs(t, r.do(wrong), nvme.ErrProtection)
	}
	require.NoError(t, r.do(read))
}

// inserted lets the controller insert and strip.
func (r *rig) inserted(lba uint64, blocks int, p nvme.Protect) {
	t, bs := r.t, r.ns.Info().BlockSize
	p.Flags |= spec.PRACT
	w, b := r.buf(blocks*bs, nil), r.buf(blocks*bs, nil)
	copy(w, bytes.Repeat([]byte("stripped"), len(w)/8))
	require.NoError(t, r.do(nvme.Request{Op: nvme.OpWrite, NS: r.ns, LBA: lba, Buf: w, PI: p}))
	require.NoError(t, r.do(nvme.Request{Op: nvme.OpRead, NS: r.ns, LBA: lba, Buf: b, PI: p}))
	require.Equal(t, w, b)
	require.NoError(t, r.do(nvme.Request{Op: nvme.OpVerify, NS: r.ns, LBA: lba, Blocks: uint64(blocks), PI: p}))
}

// TestHostProtection: the host finds what the controller would, each check by itself, and checks no block that is escaped.
func TestHostProtection(t *testing.T) {
	const guard, app, ref = spec.PRCHKGuard, spec.PRCHKApp, spec.PRCHKRef
	for kind := uint8(1); kind <= 3; kind++ {
		ns := softctrl.NamespaceConfig{Storage: ram(t, 1<<20, false), MetaSize: 8, Protection: kind}
		info := newRig(t, setup{cfg: softctrl.Config{Namespaces: []softctrl.NamespaceConfig{ns}}}).ns.Info()
		good := nvme.Protect{RefTag: 70, App: 0x1234, AppMask: 0xFF0F}
		for _, c := range []struct {
			name  string
			spoil func(data, pi []byte) // of the third block
			seen  uint32                // by which checks
		}{
			{"nothing", func(_, _ []byte) {}, 0},
			{"data", func(data, _ []byte) { data[100] ^= 1 }, guard},
			{"guard", func(_, pi []byte) { pi[1] ^= 1 }, guard},
			{"application tag", func(_, pi []byte) { pi[3] ^= 1 }, app},
			{"application tag outside of the mask", func(_, pi []byte) { pi[3] ^= 0x10 }, 0},
			{"reference tag", func(_, pi []byte) { pi[7] ^= 1 }, map[bool]uint32{true: ref}[kind != 3]},
			{"escaped by the application tag", func(data, pi []byte) { data[0], pi[2], pi[3] = 1, 0xFF, 0xFF }, map[bool]uint32{true: guard | app}[kind == 3]},
			{"escaped by both tags", func(data, pi []byte) { data[0] = 1; copy(pi[2:], "\xFF\xFF\xFF\xFF\xFF\xFF") }, 0},
			{"the reference tag alone", func(data, pi []byte) { data[0] = 1; copy(pi[4:], "\xFF\xFF\xFF\xFF") }, guard | map[bool]uint32{true: ref}[kind != 3]},
		} {
			buf, meta := make([]byte, 4*blockSize), make([]byte, 4*8)
			require.NoError(t, info.InsertProtection(buf, meta, good))
			c.spoil(buf[2*blockSize:3*blockSize], meta[2*8:3*8])
			for _, check := range []uint32{0, guard, app, ref, allChecks} {
				p := good
				p.Flags = check
				err := info.CheckProtection(buf, meta, p)
				if check&c.seen == 0 {
					require.NoError(t, err, "type %d, %s, checks %#x", kind, c.name, check)
					continue
				}
				require.ErrorIs(t, err, nvme.ErrProtection, "type %d, %s, checks %#x", kind, c.name, check)
				require.ErrorContains(t, err, "block 2", c.name)
			}
		}
	}
}
