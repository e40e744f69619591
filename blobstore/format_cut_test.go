package blobstore

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/crashbdev"
)

var cutFormat = FormatOptions{ClusterSize: 65536, MDPages: 64, JournalSize: 256 << 10, Type: "CUT", FirstBlob: map[string][]byte{"a": {1}}}

// scribbled is a disk with something on it that stands in Format's way.
func scribbled(t *testing.T) *crashbdev.Disk {
	disk := crashbdev.New(crashbdev.Options{Size: 8 << 20, AtomicWriteUnit: 512})
	dev := openDisk(t, disk)
	b := bytes.Repeat([]byte{0xa5}, 1<<20)
	require.NoError(t, dev.Write(b, 0))
	require.NoError(t, dev.Write(b, dev.Size()-int64(len(b))))
	require.NoError(t, dev.Flush())
	return disk
}

// oldStore is a disk with a store of the same type, closed or left dirty.
func oldStore(t *testing.T, clean bool) *crashbdev.Disk {
	disk := crashbdev.New(crashbdev.Options{Size: 8 << 20, AtomicWriteUnit: 512})
	dev := openDisk(t, disk)
	o := cutFormat
	o.JournalSize = 512 << 10
	require.NoError(t, Format(dev, o))
	s, err := Open(dev, OpenOptions{})
	require.NoError(t, err)
	tx := s.Begin()
	tx.Resize(tx.Create(), 3)
	lsn, err := tx.Commit()
	require.NoError(t, err)
	require.NoError(t, s.Sync(lsn))
	if clean {
		require.NoError(t, s.Close())
		return disk
	}
	left := disk.Cut(crashbdev.KeepAll, 0)
	abandon(s)
	return left
}

// TestFormatIsAtomic: wherever the power goes while a store is made, making it again needs no force. What is on the
// device meanwhile is the store that was there, none, or the finished one.
func TestFormatIsAtomic(t *testing.T) {
	for name, c := range map[string]struct {
		disk  *crashbdev.Disk
		force bool
	}{
		"empty":       {disk: crashbdev.New(crashbdev.Options{Size: 8 << 20, AtomicWriteUnit: 512})},
		"clean store": {disk: oldStore(t, true)},
		"dirty store": {disk: oldStore(t, false)},
		"by force":    {disk: scribbled(t), force: true},
	} {
		t.Run(name, func(t *testing.T) {
			seen := map[string]int{}
			format := func(dev *bdev.Device) {
				o := cutFormat
				o.Force = c.force
				_ = Format(dev, o)
			}
			eachCut(t, c.disk, format, func(dev *bdev.Device) error {
				what, err := probe(dev)
				if err != nil {
					return err
				}
				seen[what]++
				if c.force && what == "data of an unknown kind (its first and last MiB are not zero)" {
					return nil // the mark did not get there
				}
				if _, err := Open(dev, OpenOptions{ReadOnly: true}); what == "" {
					require.ErrorIs(t, err, ErrNotBlobstore)
				} else {
					require.NoError(t, err)
				}
				if err := Format(dev, cutFormat); err != nil {
					return err
				}
				return reopened(dev, func(s *Store) error {
					require.Equal(t, []BlobID{1 << 32, FirstBlobID}, s.IDs())
					_, err := s.Blob(FirstBlobID)
					return err
				})
			})
			require.NotZero(t, seen[""], "the mark was seen: %v", seen)
			require.NotZero(t, seen[`a blobstore of type "CUT"`], "the finished store was seen: %v", seen)
		})
	}
}

// TestFormatNeverTears draws many torn states of each operation, for those of page 0 above all.
func TestFormatNeverTears(t *testing.T) {
	for name, base := range map[string]*crashbdev.Disk{
		"empty":       crashbdev.New(crashbdev.Options{Size: 4 << 20, AtomicWriteUnit: 512}),
		"clean store": oldStore(t, true),
	} {
		for n, died := int64(1), true; died; n++ {
			disk := base.Cut(crashbdev.KeepAll, 0)
			disk.CutAfter(n)
			dev := openDisk(t, disk)
			_ = Format(dev, cutFormat)
			died = disk.PoweredOff()
			require.NoError(t, dev.Close())
			for seed := range uint64(60) {
				left := openDisk(t, disk.Cut(crashbdev.Random, seed))
				require.NoError(t, mayFormat(left, cutFormat.Type), "%s: power cut at operation %d, seed %d", name, n, seed)
				require.NoError(t, left.Close())
			}
		}
	}
}

// TestFormatMark: only the whole mark counts, and not once another format was made over it.
func TestFormatMark(t *testing.T) {
	for _, c := range []struct {
		what   string
		damage func(b []byte)
		want   string
	}{
		{"intact", func([]byte) {}, ""},
		{"anything behind it", func(b []byte) { b[markSize], b[9000] = 1, 1 }, ""},
		{"magic", func(b []byte) { b[0]++ }, "unknown"},
		{"version", func(b []byte) { b[markOffVersion]++ }, "unknown"},
		{"crc", func(b []byte) { b[markOffCRC]++ }, "unknown"},
		{"not zero", func(b []byte) { b[markSize-1] = 1 }, "unknown"},
		{"ext4", func(b []byte) { b[1080], b[1081] = 0x53, 0xef }, "ext4"},
		{"RAID", func(b []byte) { copy(b[4096:], "\xfc\x4e\x2b\xa9") }, "RAID"},
	} {
		t.Run(c.what, func(t *testing.T) {
			dev := openDisk(t, crashbdev.New(crashbdev.Options{Size: 8 << 20}))
			b := make([]byte, 1<<20)
			putFormatMark(b)
			c.damage(b)
			require.NoError(t, dev.Write(b, 0))
			err := Format(dev, FormatOptions{})
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, ErrOccupied)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// TestFirstBlobAttributes: what cannot be stored is refused before anything is written.
func TestFirstBlobAttributes(t *testing.T) {
	dev := openDisk(t, crashbdev.New(crashbdev.Options{Size: 8 << 20}))
	require.ErrorIs(t, Format(dev, FormatOptions{FirstBlob: map[string][]byte{"": nil}}), ErrInvalid)
	what, err := probe(dev)
	require.NoError(t, err)
	require.Empty(t, what)
}

// TestNoSecondJournal: a closed store whose journal's metadata page is damaged can be read, but not written: it would get
// another journal beside the one that cannot be seen.
func TestNoSecondJournal(t *testing.T) {
	for name, at := range map[string]int64{"crc": pageOffCRC, "id": 0, "attribute": 100} {
		t.Run(name, func(t *testing.T) {
			disk := oldStore(t, true)
			dev := openDisk(t, disk)
			super, err := readSuper(dev, nil)
			require.NoError(t, err)
			flip(t, dev, super.md.offset()+at)
			before := disk.Counters().Ops()
			for _, o := range []OpenOptions{{}, {Recover: true}} {
				_, err = Open(dev, o)
				require.ErrorIs(t, err, ErrCorrupt)
				var c *CorruptError
				require.ErrorAs(t, err, &c)
				require.Equal(t, super.md.offset(), c.Offset/pageSize*pageSize)
			}
			s, err := Open(dev, OpenOptions{ReadOnly: true})
			require.NoError(t, err)
			require.Equal(t, 1, s.Info().BadBlobs)
			_, err = s.Blob(FirstBlobID)
			require.NoError(t, err)
			require.NoError(t, s.Close())
			require.Equal(t, before, disk.Counters().Ops(), "nothing was written")
		})
	}
}
