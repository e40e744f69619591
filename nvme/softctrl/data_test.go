package softctrl

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme/spec"
)

// pagedMemory is 16 pages of host memory at 0, of which no two lie side by side.
type pagedMemory struct{ pages [16][pageSize]byte }

func (m *pagedMemory) Translate(iova uint64, n int, _ bool) []byte {
	page, at := iova/pageSize, int(iova%pageSize)
	if page >= uint64(len(m.pages)) || at+n > pageSize {
		return nil
	}
	return m.pages[page][at : at+n]
}

func (m *pagedMemory) Lasting() bool { return true }

// entries writes PRP entries to a place.
func (m *pagedMemory) entries(at uint64, entries ...uint64) {
	for i, e := range entries {
		binary.LittleEndian.PutUint64(m.pages[at/pageSize][int(at%pageSize)+8*i:], e)
	}
}

// place is memory that a command means.
type place struct {
	iova uint64
	n    int
}

// at is what is at some places.
func (m *pagedMemory) at(places []place) (b []byte) {
	for _, p := range places {
		b = append(b, m.Translate(p.iova, p.n, false)...)
	}
	return b
}

// TestPRP walks what a host may write, and what it may not: every byte comes from where the entries say, or the command fails.
func TestPRP(t *testing.T) {
	const (
		page = uint64(pageSize)
		list = 14 * page // and 15
		end  = list + page
	)
	pages := func(list ...uint64) (all []place) {
		for _, p := range list {
			all = append(all, place{p * page, pageSize})
		}
		return all
	}
	for name, c := range map[string]struct {
		prp1, prp2 uint64
		n          int
		lists      map[uint64][]uint64
		want       []place
		status     spec.Status
	}{
		"one page":                      {prp1: page, n: 4096, want: pages(1)},
		"within a page":                 {prp1: page + 100, n: 3996, want: []place{{page + 100, 3996}}},
		"between dwords":                {prp1: page + 2, n: 512, status: spec.StatusPRPOffset},
		"two pages":                     {prp1: page, prp2: 3 * page, n: 8192, want: pages(1, 3)},
		"two pages that follow":         {prp1: page, prp2: 2 * page, n: 8192, want: pages(1, 2)},
		"to the second page":            {prp1: page + 4092, prp2: 3 * page, n: 4100, want: []place{{page + 4092, 4}, {3 * page, 4096}}},
		"second page from within":       {prp1: page, prp2: 3*page + 4, n: 8192, status: spec.StatusPRPOffset},
		"second page that is not there": {prp1: page, prp2: 16 * page, n: 8192, status: spec.StatusDataTransferError},
		"list":                          {prp1: page, prp2: list, n: 3 * 4096, lists: map[uint64][]uint64{list: {5 * page, 3 * page}}, want: pages(1, 5, 3)},
		"a byte beyond two pages": {prp1: page + 4, prp2: list, n: 8193, lists: map[uint64][]uint64{list: {5 * page, 3 * page}},
			want: []place{{page + 4, 4092}, {5 * page, 4096}, {3 * page, 5}}},
		"list that ends with its page": {prp1: page, prp2: end - 16, n: 3 * 4096, lists: map[uint64][]uint64{end - 16: {5 * page, 3 * page}}, want: pages(1, 5, 3)},
		"chain": {prp1: page, prp2: end - 16, n: 4 * 4096, lists: map[uint64][]uint64{end - 16: {5 * page, end}, end: {3 * page, 7 * page}},
			want: pages(1, 5, 3, 7)},
		"chain of a pointer alone": {prp1: page, prp2: end - 8, n: 3 * 4096, lists: map[uint64][]uint64{end - 8: {end}, end: {3 * page, 7 * page}},
			want: pages(1, 3, 7)},
		"chain to within a page": {prp1: page, prp2: end - 8, n: 3 * 4096, lists: map[uint64][]uint64{end - 8: {end + 8}, end + 8: {3 * page, 7 * page}},
			status: spec.StatusPRPOffset},
		"chain to nowhere":    {prp1: page, prp2: end - 8, n: 3 * 4096, lists: map[uint64][]uint64{end - 8: {16 * page}}, status: spec.StatusDataTransferError},
		"entry within a page": {prp1: page, prp2: list, n: 3 * 4096, lists: map[uint64][]uint64{list: {5 * page, 3*page + 8}}, status: spec.StatusPRPOffset},
		"entry to nowhere":    {prp1: page, prp2: list, n: 3 * 4096, lists: map[uint64][]uint64{list: {16 * page, 3 * page}}, status: spec.StatusDataTransferError},
		"list between entries": {prp1: page, prp2: list + 4, n: 3 * 4096, lists: map[uint64][]uint64{list + 4: {5 * page, 3 * page}},
			status: spec.StatusPRPOffset},
		"second entry of no use": {prp1: page, prp2: 3, n: 4096, want: pages(1)},
		"list that is not there": {prp1: page, prp2: 16 * page, n: 3 * 4096, status: spec.StatusDataTransferError},
	} {
		t.Run(name, func(t *testing.T) {
			m := &pagedMemory{}
			for i := range m.pages {
				for at := range m.pages[i] {
					m.pages[i][at] = byte(i*31 + at*7 + at/256)
				}
			}
			for at, entries := range c.lists {
				m.entries(at, entries...)
			}
			var s scratch
			parts, status := (&Controller{mem: m}).locate(&s, &spec.Command{PRP1: c.prp1, PRP2: c.prp2}, c.n, false)
			require.Equal(t, c.status, status)
			if status.OK() {
				require.Equal(t, m.at(c.want), s.gather(parts))
			}
		})
	}
}

// TestFromHost: data that cannot be had is no data.
func TestFromHost(t *testing.T) {
	c := &Controller{mem: &pagedMemory{}}
	b, status := c.fromHost(&subQueue{}, &spec.Command{PRP1: 2}, 16)
	require.Equal(t, spec.StatusPRPOffset, status)
	require.Nil(t, b)
}

// TestSGL does so with descriptors.
func TestSGL(t *testing.T) {
	const at = 14 * uint64(pageSize)
	data := func(iova uint64, n uint32) spec.SGL {
		return spec.SGL{Address: iova, Length: n, Type: spec.SGLTypeData}
	}
	segment := func(iova uint64, n uint32) spec.SGL {
		return spec.SGL{Address: iova, Length: n, Type: spec.SGLTypeSegment}
	}
	last := func(iova uint64, n uint32) spec.SGL {
		return spec.SGL{Address: iova, Length: n, Type: spec.SGLTypeLastSegment}
	}
	for name, c := range map[string]struct {
		first  spec.SGL
		list   []spec.SGL // at, 16 bytes each
		want   []place
		status spec.Status
	}{
		"a block":                   {first: data(4096, 600), want: []place{{4096, 600}}},
		"more than is wanted":       {first: data(4096, 4096), want: []place{{4096, 600}}},
		"less":                      {first: data(4096, 599), status: spec.StatusDataSGLLength},
		"across pages":              {first: data(4096+4000, 600), want: []place{{4096 + 4000, 96}, {8192, 504}}},
		"to nowhere":                {first: data(15*4096+4000, 600), status: spec.StatusDataTransferError},
		"blocks":                    {first: last(at, 32), list: []spec.SGL{data(4096, 100), data(20, 500)}, want: []place{{4096, 100}, {20, 500}}},
		"blocks of nothing":         {first: last(at, 48), list: []spec.SGL{data(4096, 600), data(1<<40, 0), data(1<<40, 8)}, want: []place{{4096, 600}}},
		"segments":                  {first: segment(at, 32), list: []spec.SGL{data(4096, 100), last(at+32, 16), data(20, 500)}, want: []place{{4096, 100}, {20, 500}}},
		"segment in the middle":     {first: segment(at, 48), list: []spec.SGL{data(4096, 100), last(at+32, 16), data(20, 500)}, status: spec.StatusSGLType},
		"segment after the last":    {first: last(at, 32), list: []spec.SGL{data(4096, 100), last(at+32, 16), data(20, 500)}, status: spec.StatusSGLType},
		"segments without end":      {first: segment(at, 16), list: []spec.SGL{segment(at, 16)}, status: spec.StatusInvalidSGLSegment},
		"segment of nothing":        {first: segment(at, 0), status: spec.StatusInvalidSGLSegment},
		"half a descriptor":         {first: last(at, 24), list: []spec.SGL{data(4096, 600)}, status: spec.StatusInvalidSGLSegment},
		"segment of a page":         {first: last(at, 4096), list: []spec.SGL{data(4096, 600)}, want: []place{{4096, 600}}},
		"larger segment":            {first: last(at, 4112), status: spec.StatusInvalidSGLSegment},
		"segment that is not there": {first: last(16*4096, 16), status: spec.StatusDataTransferError},
		"too little in segments":    {first: last(at, 32), list: []spec.SGL{data(4096, 100), data(20, 499)}, status: spec.StatusDataSGLLength},
		"blocks to nowhere":         {first: last(at, 16), list: []spec.SGL{data(1<<40, 600)}, status: spec.StatusDataTransferError},
		"unknown kind at the end":   {first: segment(at, 16), list: []spec.SGL{{Address: 4096, Length: 600, Type: 7}}, status: spec.StatusSGLType},
		"unknown kind":              {first: spec.SGL{Address: 4096, Length: 600, Type: 7}, status: spec.StatusSGLType},
		"unknown kind in a segment": {first: last(at, 16), list: []spec.SGL{{Address: 4096, Length: 600, Type: 7}}, status: spec.StatusSGLType},
	} {
		t.Run(name, func(t *testing.T) {
			m := &pagedMemory{}
			for i := range 14 {
				for at := range m.pages[i] {
					m.pages[i][at] = byte(i*31 + at*7 + at/256)
				}
			}
			for i, d := range c.list {
				d.Put(m.pages[14][16*i:])
			}
			cmd := spec.Command{}
			cmd.SetSGL(c.first)
			var s scratch
			parts, status := (&Controller{mem: m, cfg: Config{SGL: true}}).locate(&s, &cmd, 600, false)
			require.Equal(t, c.status, status)
			if status.OK() {
				require.Equal(t, m.at(c.want), s.gather(parts))
			}
			_, status = (&Controller{mem: m}).locate(&s, &cmd, 600, false)
			require.Equal(t, spec.StatusInvalidField, status, "of a controller without SGLs")
		})
	}
}
