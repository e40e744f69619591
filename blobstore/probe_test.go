package blobstore

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev/crashbdev"
)

// Nothing is formatted by accident, and what stands in the way is named.
func TestFormatRefusesWhatIsNotOurs(t *testing.T) {
	put := func(off int64, text string) func(b []byte) { return func(b []byte) { copy(b[off:], text) } }
	for _, c := range []struct {
		what  string
		write func(b []byte)
	}{
		{"ext2, ext3 or ext4", func(b []byte) { b[1080], b[1081] = 0x53, 0xef }},
		{"xfs", put(0, "XFSB")},
		{"btrfs", put(0x10040, "_BHRfS_M")},
		{"LVM", put(512, "LABELONE")},
		{"LUKS", put(0, "LUKS\xba\xbe")},
		{"swap", put(4086, "SWAPSPACE2")},
		{"GPT", put(512, "EFI PART")},
		{"MBR", put(510, "\x55\xaa")},
		{"ZFS", put(128<<10, "\x0c\xb1\xba\x00")},
		{"unknown", put(1<<20-1, "x")},
		{"damaged blobstore", put(0, "SPDKBLOB")},
	} {
		t.Run(c.what, func(t *testing.T) {
			disk := crashbdev.New(crashbdev.Options{Size: 16 << 20})
			dev := openDisk(t, disk)
			b := make([]byte, 1<<20)
			c.write(b)
			require.NoError(t, dev.Write(b, 0))
			err := Format(dev, FormatOptions{})
			require.ErrorIs(t, err, ErrOccupied)
			require.ErrorContains(t, err, c.what)
			got := make([]byte, len(b))
			require.NoError(t, dev.Read(got, 0))
			require.Equal(t, b, got, "nothing was written")
			require.NoError(t, Format(dev, FormatOptions{Force: true}))
			s, err := Open(dev, OpenOptions{})
			require.NoError(t, err)
			closeAndCheck(t, s)
		})
	}
}

func TestFormatRefusesSecondPartitionTable(t *testing.T) {
	dev := openDisk(t, crashbdev.New(crashbdev.Options{Size: 16 << 20}))
	b := make([]byte, 512)
	copy(b, "EFI PART")
	require.NoError(t, dev.Write(b, dev.Size()-512))
	require.ErrorContains(t, Format(dev, FormatOptions{}), "GPT")
	require.NoError(t, Format(dev, FormatOptions{Force: true}))
	require.NoError(t, Format(dev, FormatOptions{}), "nothing of it is left, and the store is ours")
}

// Our own store is made anew when asked to; one of another type, one of SPDK or a damaged one only by force.
func TestFormatOverStores(t *testing.T) {
	dev := openDisk(t, crashbdev.New(crashbdev.Options{Size: 16 << 20}))
	require.NoError(t, Format(dev, FormatOptions{Type: "A"}))
	require.NoError(t, Format(dev, FormatOptions{Type: "A"}))
	require.ErrorIs(t, Format(dev, FormatOptions{Type: "B"}), ErrOccupied)
	super, err := readSuper(dev, nil)
	require.NoError(t, err)
	flip(t, dev, super.md.offset()+100) // the journal is not found any more
	require.ErrorIs(t, Format(dev, FormatOptions{Type: "A"}), ErrOccupied)
	flip(t, dev, 30)
	require.ErrorContains(t, Format(dev, FormatOptions{Type: "A"}), "damaged")
	require.ErrorIs(t, Format(openDisk(t, goldenDisk(t, "bs-basic", 4096)), FormatOptions{}), ErrOccupied)
	require.ErrorContains(t, Format(openDisk(t, goldenDisk(t, "lvs-thin", 4096)), FormatOptions{}), "lvolstore")
}

func TestFormatOptions(t *testing.T) {
	for _, c := range []struct {
		o    FormatOptions
		size int64
		err  error
	}{
		{FormatOptions{ClusterSize: 3 * 4096}, 16 << 20, ErrInvalid},
		{FormatOptions{ClusterSize: 1024}, 16 << 20, ErrInvalid},
		{FormatOptions{Type: "more than sixteen bytes"}, 16 << 20, ErrInvalid},
		{FormatOptions{JournalSize: 4096}, 16 << 20, ErrInvalid},
		{FormatOptions{JournalSize: 16 << 20}, 16 << 20, ErrNoSpace},
		{FormatOptions{}, 256 << 10, ErrNoSpace},
		{FormatOptions{}, 4 << 20, nil},
		{FormatOptions{ClusterSize: 4096}, 4 << 20, nil},
		{FormatOptions{ClusterSize: 1 << 20}, 16 << 20, nil},
	} {
		dev := openDisk(t, crashbdev.New(crashbdev.Options{Size: c.size}))
		err := Format(dev, c.o)
		if c.err != nil {
			require.ErrorIs(t, err, c.err, "%+v", c.o)
			continue
		}
		require.NoError(t, err, "%+v", c.o)
		s, err := Open(dev, OpenOptions{})
		require.NoError(t, err)
		closeAndCheck(t, s)
	}
}
