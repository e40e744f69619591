package crashbdev

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestImageAgainstBytes applies random writes, zeroes and clones to images and to plain byte slices.
func TestImageAgainstBytes(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	const size = 10*pageSize + 512
	images, models := []*Image{NewImage(size)}, [][]byte{make([]byte, size)}
	for range 3000 {
		i := rng.IntN(len(images))
		off := rng.IntN(size)
		n := rng.IntN(min(3*pageSize, size-off) + 1)
		switch k := rng.IntN(20); {
		case k < 12:
			p := bytes.Repeat([]byte{byte(rng.IntN(255) + 1)}, n)
			images[i].write(p, int64(off))
			copy(models[i][off:], p)
		case k < 18:
			images[i].zero(int64(off), int64(n))
			clear(models[i][off : off+n])
		case len(images) < 8:
			images = append(images, images[i].Clone())
			models = append(models, bytes.Clone(models[i]))
		}
	}
	for i := range images {
		require.Equal(t, models[i], contents(t, images[i]))
		loaded, err := LoadImage(bytes.NewReader(models[i]), size)
		require.NoError(t, err)
		require.True(t, loaded.Equal(images[i]) && images[i].Equal(loaded))
		for j := range i {
			require.Equal(t, bytes.Equal(models[i], models[j]), images[i].Equal(images[j]))
		}
	}
}

func contents(t *testing.T, m *Image) []byte {
	t.Helper()
	p, err := io.ReadAll(io.NewSectionReader(m, 0, m.Size()))
	require.NoError(t, err)
	require.Len(t, p, int(m.Size()))
	return p
}

func TestImageFile(t *testing.T) {
	m := NewImage(3*pageSize + 512)
	m.write([]byte("tail"), 3*pageSize+508)
	m.write([]byte("middle"), 100)
	name := filepath.Join(t.TempDir(), "image")
	require.NoError(t, m.WriteFile(name))
	got, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, contents(t, m), got)
}

func TestImageEnds(t *testing.T) {
	m := NewImage(1024)
	p := make([]byte, 100)
	for _, off := range []int64{-1, 1024, 5000} {
		_, err := m.ReadAt(p, off)
		require.ErrorIs(t, err, io.EOF, "offset %d", off)
	}
	n, err := m.ReadAt(p, 1000)
	require.Equal(t, 24, n)
	require.ErrorIs(t, err, io.EOF)

	short, err := LoadImage(bytes.NewReader([]byte("abc")), 2*pageSize)
	require.NoError(t, err)
	require.EqualValues(t, 2*pageSize, short.Size())
	require.Equal(t, []byte("abc\x00"), contents(t, short)[:4])
}
