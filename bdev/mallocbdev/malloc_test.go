package mallocbdev

import (
	"bytes"
	"testing"

	"github.com/blobkv/blobkv/bdev"
)

func TestSmoke(t *testing.T) {
	b, err := New(Config{Size: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	d, err := bdev.New("malloc:64MiB", b, bdev.Options{Fresh: true})
	if err != nil {
		t.Fatal(err)
	}
	w := bytes.Repeat([]byte("abcd"), 2048)
	if err := d.Write(w, 4096); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 8192)
	if err := d.Read(p, 4096); err != nil || !bytes.Equal(p, w) {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { _ = d.Read(p, 4096) }); n != 0 {
		t.Fatal(n)
	}
	t.Log(d.Read(p, 100), d.Read(p, 64<<20))
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkRead(b *testing.B) {
	m, _ := New(Config{Size: 64 << 20})
	d, _ := bdev.New("malloc:64MiB", m, bdev.Options{Fresh: true})
	p := make([]byte, 4096)
	for i := range b.N {
		d.Read(p, int64(i&1023)<<12)
	}
}
