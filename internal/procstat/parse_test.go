package procstat

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMachineIdle(t *testing.T) {
	//                                    user nice system idle iowait irq softirq steal guest guest_nice
	idle, cpus, err := parseMachineIdle([]byte("cpu  100 20 3 9999 888 4 5 777 66 55\ncpu0 1 1 1 1 1 1 1 1 1 1\ncpu7 1 1\nintr 5\n"))
	require.NoError(t, err)
	require.Equal(t, (9999+888+777)*10*time.Millisecond, idle)
	require.Equal(t, 2, cpus)
}

func TestMachineIdleRefusesOtherText(t *testing.T) {
	for _, s := range []string{"", "cpu", "intr 1 2 3 4 5 6 7 8", "cpu 1 2 3 x 4 5 6 7 8\ncpu0 1", "cpu0 1 2 3 4 5 6 7 8", "cpu 1 2 3 4 5 6 7 8\nintr 1"} {
		_, _, err := parseMachineIdle([]byte(s))
		require.Error(t, err, "%q", s)
	}
}

func TestMeminfo(t *testing.T) {
	const text = "MemTotal:       24684084 kB\nMemFree:  1 kB\nMemAvailable:   23000000 kB\n"
	got, err := parseMeminfo([]byte(text), "MemAvailable")
	require.NoError(t, err)
	require.EqualValues(t, 23000000<<10, got)
	_, err = parseMeminfo([]byte(text), "Mem")
	require.Error(t, err)
}

func TestCPUModel(t *testing.T) {
	require.Equal(t, "Some CPU @ 2.0GHz", parseCPUModel([]byte("processor\t: 0\nmodel name\t: Some CPU @ 2.0GHz\nmodel name: other\n")))
	require.Equal(t, "", parseCPUModel([]byte("processor\t: 0\n")))
}

func TestDiskstatsCountsSectorsOf512(t *testing.T) {
	const text = "   7       0 loop0 1 2 3 4 5 6 7 8 9 10 11\n 254       0 vda 37044 13641 1976234 8377 4242 17712 1064080 3509 0 4848 12218 1 2 3 4 5 6\n 254 1 vda1 1 1 1 1 1 1 1 1 1 1\n"
	name, c, err := parseDiskstats([]byte(text), 254, 0)
	require.NoError(t, err)
	require.Equal(t, "vda", name)
	require.Equal(t, DiskCounters{1976234 * 512, 1064080 * 512}, c)
	require.Equal(t, DiskCounters{512, 1024}, DiskCounters{1024, 2048}.Sub(DiskCounters{512, 1024}))

	_, _, err = parseDiskstats([]byte(text), 25, 0)
	require.True(t, errors.Is(err, ErrUnsupported))
}

const mountinfo = `27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
30 27 0:27 / /dev/shm rw,relatime - tmpfs tmpfs rw,size=24684084k
31 27 8:1 / /data rw,noatime shared:1 master:2 - xfs /dev/sda1 rw,attr2
32 27 8:2 / /data/my\040disk rw - btrfs /dev/sda2 rw
33 27 0:28 / /data rw - overlay overlay rw,lowerdir=/a
`

func TestMountinfo(t *testing.T) {
	for _, c := range []struct{ path, point, fsType string }{
		{"/", "/", "ext4"},
		{"/database", "/", "ext4"},
		{"/dev/shm/x", "/dev/shm", "tmpfs"},
		{"/data", "/data", "overlay"}, // mounted over the xfs
		{"/data/my disk/x", "/data/my disk", "btrfs"},
		{"/data/mydisk", "/data", "overlay"},
	} {
		m, err := parseMountinfo([]byte(mountinfo), c.path)
		require.NoError(t, err)
		require.Equal(t, c.point, m.Point, c.path)
		require.Equal(t, c.fsType, m.Type, c.path)
	}
	_, err := parseMountinfo(nil, "/")
	require.Error(t, err)
}

func TestMountNamesWhatMatters(t *testing.T) {
	m, err := parseMountinfo([]byte(mountinfo), "/")
	require.NoError(t, err)
	m.Journal = "no journal"
	require.Equal(t, "ext4 on /dev/vda, no journal, rw,relatime,discard", m.String())
	require.False(t, m.RAM)

	m, err = parseMountinfo([]byte(mountinfo), "/dev/shm")
	require.NoError(t, err)
	require.True(t, m.RAM)
	require.Equal(t, "tmpfs, no journal, rw,relatime,size=24684084k", m.String())
}
