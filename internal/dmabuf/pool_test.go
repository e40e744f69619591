package dmabuf

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestClassesAndAlignment(t *testing.T) {
	p := NewPool(64 << 20)
	for n, want := range map[int]int{1: 4096, 4096: 4096, 4097: 8192, 65536: 65536, 65537: 131072, 1 << 20: 1 << 20, 2<<20 + 1: 4 << 20, MaxClass: MaxClass} {
		b := p.Get(n)
		if len(b) != n || cap(b) != want || !IsAligned(b, 4096) {
			t.Errorf("Get(%d): len %d cap %d", n, len(b), cap(b))
		}
		fill(b[:cap(b)], 1)
		p.Put(b[:0])
	}
	if s := p.Stats(); s.Used != 0 || s.Idle == 0 {
		t.Fatalf("%+v", s)
	}
	if err := p.Close(); err != nil || p.Stats().Idle != 0 {
		t.Fatal(err)
	}
}

func TestReuseAllocatesNothing(t *testing.T) {
	p := NewPool(1 << 20)
	if n := testing.AllocsPerRun(100, func() { p.Put(p.Get(8192)) }); n != 0 {
		t.Fatalf("%v allocations per Get and Put", n)
	}
}

func TestLimit(t *testing.T) {
	p := NewPool(16 << 10)
	a, b := p.Get(8<<10), p.Get(8<<10)
	if _, ok := p.TryGet(1); ok {
		t.Fatal("TryGet beyond the bound")
	}
	got := make(chan []byte)
	go func() { got <- p.Get(4096) }()
	for p.Stats().Waiting == 0 {
		time.Sleep(time.Millisecond)
	}
	p.Put(a)
	c := <-got
	if s := p.Stats(); s.Used != 12<<10 {
		t.Fatalf("%+v", s)
	}
	p.Put(b)
	p.Put(c)
	big := p.Get(1 << 20)
	if _, ok := p.TryGet(1); ok {
		t.Fatal("a single large buffer is admitted alone")
	}
	p.Put(big)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestIdleMemoryGoesBack(t *testing.T) {
	p := NewPool(64 << 20)
	var bufs [][]byte
	for range 16 {
		bufs = append(bufs, p.Get(4<<20))
	}
	for _, b := range bufs {
		p.Put(b)
	}
	if s := p.Stats(); s.Idle != 16<<20 || s.Used != 0 {
		t.Fatalf("%+v", s)
	}
}

func TestForeignPutPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Fatal("a buffer from elsewhere was accepted")
		}
	}()
	NewPool(1 << 20).Put(make([]byte, 4096))
}

func TestConcurrent(t *testing.T) {
	p := NewPool(64 << 10)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 500 {
				b := p.Get(1 + (g*31+i*977)%(32<<10))
				fill(b, byte(g))
				for _, v := range b {
					if v != byte(g) {
						t.Error("a buffer has two owners")
						return
					}
				}
				p.Put(b)
			}
		})
	}
	wg.Wait()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestHeldIsBounded checks that idle buffers count: what was given back in one size does not add to what is taken in another.
func TestHeldIsBounded(t *testing.T) {
	const limit = 8 << 20
	p := NewPool(limit)
	before := Held()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	var out [][]byte
	for range 20000 {
		if b, ok := p.TryGet(1 + rng.IntN(MaxClass>>rng.IntN(11))); ok {
			out = append(out, b)
		} else {
			i := rng.IntN(len(out))
			p.Put(out[i])
			out[i] = out[len(out)-1]
			out = out[:len(out)-1]
		}
		s := p.Stats()
		require.LessOrEqual(t, s.Used+s.Idle, int64(limit))
		require.Equal(t, s.Used+s.Idle, Held()-before)
	}
	for _, b := range out {
		p.Put(b)
	}
	require.NoError(t, p.Close())
	require.Equal(t, before, Held())
}

// TestLargeIdleBuffersMakeRoom wants a small buffer to be kept although large ones fill what may be idle.
func TestLargeIdleBuffersMakeRoom(t *testing.T) {
	p := NewPool(8 << 20)
	p.Put(p.Get(MaxClass))
	small := p.Get(4096)
	p.Put(small)
	again := p.Get(4096)
	require.Equal(t, startOf(small), startOf(again), "mapped anew")
	p.Put(again)
	require.Zero(t, testing.AllocsPerRun(50, func() { p.Put(p.Get(4096)) }))
	require.EqualValues(t, 4096, p.Stats().Idle)
	require.NoError(t, p.Close())
}
