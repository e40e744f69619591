package vfiouser

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/spec"
)

// farMemory is a host's memory that messages alone reach. It counts writes by page.
type farMemory struct {
	bytes  [8 * 4096]byte
	writes [8]int
}

func (m *farMemory) Slice(uint64, int, bool) []byte { return nil }

func (m *farMemory) Remote(iova uint64, n int, _ bool) bool {
	return iova+uint64(n) <= uint64(len(m.bytes))
}

func (m *farMemory) Read(iova uint64, p []byte) error {
	copy(p, m.bytes[iova:])
	return nil
}

func (m *farMemory) Write(iova uint64, p []byte) error {
	copy(m.bytes[iova:], p)
	m.writes[iova/4096]++
	return nil
}

// TestFarShadows: shadow doorbells are the host's to write, which another processor may do meanwhile; event indexes reach it even when there
// is nothing else to tell.
func TestFarShadows(t *testing.T) {
	const atASQ, atACQ, atCQ, atSQ, atShadow, atEvents = 0, 1 << 12, 2 << 12, 3 << 12, 4 << 12, 5 << 12
	ram, err := softctrl.NewRAM(1<<20, false)
	require.NoError(t, err)
	cfg := softctrl.Config{Queues: 1, Shadow: true, Namespaces: []softctrl.NamespaceConfig{{Storage: ram}}}
	m, doorbells := &farMemory{}, make([]byte, 4096)
	c, err := Soft(cfg).Attach(Host{Doorbells: doorbells, Memory: m, Interrupt: func(int) {}})
	require.NoError(t, err)
	for _, r := range []struct {
		offset uint32
		size   int
		value  uint64
	}{{spec.RegAQA, 4, uint64(spec.AQA(8, 8))}, {spec.RegASQ, 8, atASQ}, {spec.RegACQ, 8, atACQ}, {spec.RegCC, 4, uint64(spec.MakeCC(spec.CCCSSAll, 0))}} {
		require.NoError(t, c.Store(r.offset, r.size, r.value))
	}
	for i, cmd := range []spec.Command{
		{Opcode: spec.AdminDoorbellBuffer, PRP1: atShadow, PRP2: atEvents},
		{Opcode: spec.AdminCreateCQ, PRP1: atCQ, CDW10: 7<<16 | 1, CDW11: 1},
		{Opcode: spec.AdminCreateSQ, PRP1: atSQ, CDW10: 7<<16 | 1, CDW11: 1<<16 | 1},
	} {
		cmd.Put(m.bytes[atASQ+i*spec.CommandSize:])
		binary.LittleEndian.PutUint32(doorbells, uint32(i+1))
		n, _ := c.Poll()
		require.Equal(t, 1, n)
	}
	at := spec.SubmissionDoorbell(1, 0) - spec.RegDoorbells
	flush := spec.Command{Opcode: spec.CmdFlush, NSID: 1}
	flush.Put(m.bytes[atSQ:])
	binary.LittleEndian.PutUint32(m.bytes[atShadow+at:], 1)
	for _, want := range []int{1, 0, 0, 0} {
		n, _ := c.Poll()
		require.Equal(t, want, n)
	}
	require.Zero(t, m.writes[atShadow>>12])
	require.EqualValues(t, 1, binary.LittleEndian.Uint32(m.bytes[atEvents+at:]))
	require.Empty(t, c.(*softController).mem.copies)
	require.NoError(t, c.Detach())
	require.NoError(t, ram.Free())
}
