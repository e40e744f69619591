package kv

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/crashbdev"
	"github.com/blobkv/blobkv/bdev/faultbdev"
)

// abandonEnv makes the test binary the process that TestOpenIsAbandoned needs for itself: it leaves an engine behind.
const abandonEnv = "BLOBKV_ABANDON"

// crashedDisk is a disk with a store that was not closed, with keys 0 to 99 in its log.
func crashedDisk(t *testing.T) *crashbdev.Disk {
	t.Helper()
	disk := crashbdev.New(crashbdev.Options{BlockSize: 4096})
	db := openDisk(t, disk)
	for i := range 100 {
		require.NoError(t, db.Set(key(i), value(i, 100)))
	}
	crashed := disk.Cut(crashbdev.Modes()[0], 1)
	require.NoError(t, db.Close())
	return crashed
}

// mountTest is a DB before its engine is opened.
func mountTest(t *testing.T, dev *bdev.Device) *DB {
	t.Helper()
	o := (&Options{MemTableSize: minMemTableSize}).withDefaults()
	fs, err := mount(dev, &o)
	require.NoError(t, err)
	db := &DB{name: dev.Name(), opts: o, fs: fs, dev: dev}
	db.live()
	return db
}

// TestOpenIsAbandoned opens a store on a device that has no room for the flush of the log although it seemed so: Open ends,
// and with room everything is there.
func TestOpenIsAbandoned(t *testing.T) {
	if os.Getenv(abandonEnv) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestOpenIsAbandoned$")
		cmd.Env = append(os.Environ(), abandonEnv+"=1")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return
	}
	disk := crashedDisk(t)
	faults := faultbdev.New(disk)
	dev, err := bdev.New("full", faults, bdev.Options{})
	require.NoError(t, err)
	const tableEnd = "\U0001FAB3\U0001FAB3" // Pebble's tables end in two cockroaches
	faults.Inject(faultbdev.Rule{
		Ops:   faultbdev.Writes,
		Match: func(r *bdev.Request) bool { return bytes.Contains(r.Buf, []byte(tableEnd)) },
		Count: faultbdev.Always,
		Fault: faultbdev.Fail(bdev.ErrNoSpace),
	})
	_, err = openOn(dev, (&Options{MemTableSize: minMemTableSize}).withDefaults())
	require.ErrorIs(t, err, ErrNoSpace)
	require.ErrorContains(t, err, "ReadOnly")
	require.Equal(t, 1, strings.Count(err.Error(), "write of 4096 bytes at 0:"), "%v", err) // and not of what nobody needs any more
	requireClean(t, dev)
	db := openDisk(t, disk)
	requireKeys(t, db, 100)
	require.NoError(t, db.Close())
}

// TestOpenLooksForRoom: the log is not replayed where its changes would find no room.
func TestOpenLooksForRoom(t *testing.T) {
	disk := crashedDisk(t)
	dev, err := disk.Open("crash")
	require.NoError(t, err)
	db := mountTest(t, dev)
	check := db.logCheck(nil)
	// A host with hardly anything left.
	db.space = newSpaceGuard(db.fs, func() (free, unallocated int64, err error) { return 8 << 10, 1 << 40, nil })
	require.ErrorIs(t, check.Room(1<<20), ErrNoSpace)
	require.ErrorContains(t, check.Room(1<<20), "0 bytes are free")
	require.NoError(t, db.fs.Close())
	require.NoError(t, db.dev.Close())
}
