package prefetch

import (
	"math/rand/v2"
	"testing"
)

// TestStart takes any length: it is no access.
func TestStart(t *testing.T) {
	b := make([]byte, 4096)
	for n := range 200 {
		Start(b[:n])
		Start(b[len(b)-n:])
	}
	Start(nil)
}

// BenchmarkCopy copies blocks from random places, with and without a word about the next one.
func BenchmarkCopy(b *testing.B) {
	const size, block = 512 << 20, 4096
	mem, to := make([]byte, size), make([]byte, block)
	for i := range mem {
		mem[i] = byte(i)
	}
	for _, ahead := range []bool{false, true} {
		name := "plain"
		if ahead {
			name = "ahead"
		}
		b.Run(name, func(b *testing.B) {
			rng := rand.New(rand.NewPCG(1, 2))
			place := func() []byte { return mem[int(rng.Uint64()%(size/block))*block:][:block] }
			next := place()
			for b.Loop() {
				from := next
				next = place()
				if ahead {
					Start(next)
				}
				copy(to, from)
			}
		})
	}
}
