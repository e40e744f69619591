package vfio

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseAddress(t *testing.T) {
	for in, want := range map[string]string{
		"0000:01:00.0": "0000:01:00.0", "01:00.0": "0000:01:00.0", "1:0.7": "0000:01:00.7",
		"10000:E1:1f.3": "10000:e1:1f.3", "ffffffff:ff:1f.7": "ffffffff:ff:1f.7",
	} {
		a, err := ParseAddress(in)
		require.NoError(t, err, in)
		require.Equal(t, want, a.String())
	}
	for _, bad := range []string{"", "nvme0", "0000:01:00", "01.0", "0000:01:20.0", "0000:01:00.8", "0000:101:00.0", "x:01:00.0", "0:0:0:0.0", "/dev/nvme0", "01:00.00"} {
		_, err := ParseAddress(bad)
		require.ErrorIs(t, err, ErrNotFound, bad)
	}
}

func TestList(t *testing.T) {
	m := newMachine(t)
	m.device("0000:02:00.0", "0x010802", driverVFIO, 8)
	m.nvme("0000:01:00.0", 7)
	m.device("0000:03:00.0", "0x020000", "e1000e", 9)
	m.device("0000:04:00.0", "0x010802", "", -1)
	list, err := m.host.List()
	require.NoError(t, err)
	require.Equal(t, []Controller{
		{Address: "0000:01:00.0", Vendor: 0x1b36, Device: 0x10, Driver: "nvme", Group: 7, NUMANode: 1, Kernel: "nvme0",
			Model: "QEMU NVMe Ctrl", Serial: "proof", Firmware: "7.2", Namespaces: []Namespace{{"nvme0n1", 1, 1 << 30}}},
		{Address: "0000:02:00.0", Vendor: 0x1b36, Device: 0x10, Driver: "vfio-pci", Group: 8, NUMANode: 1},
		{Address: "0000:04:00.0", Vendor: 0x1b36, Device: 0x10, Group: -1, NUMANode: 1},
	}, list)
	require.EqualValues(t, 1<<30, list[0].Size())
	require.Empty(t, m.writes, "looking wrote to sysfs")
}

func TestWrongAddress(t *testing.T) {
	m := newMachine(t)
	_, err := m.host.Controller("01:00.0")
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorContains(t, err, "has no NVMe controllers")
	m.nvme("0000:01:00.0", 7)
	m.device("0000:03:00.0", "0x020000", "e1000e", 9)
	c, err := m.host.Controller("01:00.0")
	require.NoError(t, err)
	require.Equal(t, "0000:01:00.0", c.Address)
	for address, text := range map[string]string{"0000:05:00.0": "no PCI device", "0000:03:00.0": "class 0x020000", "nvme0": "not a PCI address"} {
		_, err := m.host.Open(address, Options{})
		require.ErrorIs(t, err, ErrNotFound)
		require.ErrorContains(t, err, text)
		require.ErrorContains(t, err, "NVMe controllers here: 0000:01:00.0")
	}
}

func TestBlockName(t *testing.T) {
	for in, want := range map[string]string{"nvme0n1": "nvme0n1", "nvme12n34": "nvme12n34", "nvme0c3n1": "nvme0n1", "ng0n1": "", "nvme0": "",
		"nvme0n": "", "nvme0cn1": "", "nvmen1": "", "nvme0n1p1": "", "hwmon1": "", "nvme01": ""} {
		got, ok := blockName(in)
		require.Equal(t, want, got, in)
		require.Equal(t, want != "", ok)
	}
}
