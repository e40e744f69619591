package dmabuf

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhole(t *testing.T) {
	p := NewPool(64 << 20)
	var all [][]byte
	for _, n := range []int{4096, 10000, 1 << 20, MaxClass, 4096} {
		b := p.Get(n)
		all = append(all, b)
		b = b[:cap(b)]
		for _, part := range [][]byte{b, b[:1], b[len(b)-1:], b[512:1024]} {
			require.Equal(t, startOf(b), startOf(Whole(part)))
			require.Len(t, Whole(part), len(b))
		}
	}
	require.Nil(t, Whole(make([]byte, 4096)))
	require.Nil(t, Whole(nil))
	g, err := NewRegion(1 << 20)
	require.NoError(t, err)
	require.Nil(t, Whole(g.Bytes()))
	require.NoError(t, g.Free())
	for _, b := range all {
		p.Put(b)
	}
	one := p.Get(4096)
	require.Zero(t, testing.AllocsPerRun(100, func() { Whole(one) }))
	p.Put(one)
	require.NoError(t, p.Close())
	require.Nil(t, Whole(one))
}

// TestWatch wants every buffer to be announced once, before its memory goes, and while it can still be found.
func TestWatch(t *testing.T) {
	p := NewPool(64 << 20)
	gone := map[uintptr]int{}
	end := Watch(func(b []byte) {
		require.NotNil(t, Whole(b), "it is gone already")
		gone[startOf(b)]++
	})
	a, b := p.Get(4096), p.Get(MaxClass)
	p.Put(a)
	require.Empty(t, gone, "kept for the next Get")
	p.Put(b)
	p.Trim()
	require.Equal(t, map[uintptr]int{startOf(a): 1, startOf(b): 1}, gone)
	end()
	p.Put(p.Get(4096))
	require.NoError(t, p.Close())
	require.Len(t, gone, 2, "heard after the end")
}
