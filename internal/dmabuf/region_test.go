package dmabuf

import "testing"

func TestRegion(t *testing.T) {
	g, err := NewRegion(8 << 20)
	if err != nil {
		t.Fatal(err)
	}
	b := g.Bytes()
	if len(b) != 8<<20 || !IsAligned(b, MinClass) {
		t.Fatal(len(b))
	}
	fill(b, 7)
	start, n := 512+100<<10, 3<<20+512
	g.Zero(int64(start), int64(n))
	for i, v := range b {
		if want := byte(7); i >= start && i < start+n {
			if v != 0 {
				t.Fatalf("byte %d is %d after Zero", i, v)
			}
		} else if v != want {
			t.Fatalf("byte %d is %d, outside of what Zero was told", i, v)
		}
	}
	if err := g.Free(); err != nil {
		t.Fatal(err)
	}
}
