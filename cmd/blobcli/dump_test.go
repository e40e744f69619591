package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDump(t *testing.T) {
	device := newStore(t)
	require.Contains(t, ok(t, "-d", device, "dump", "super"), "BLOBKVFS")
	require.Contains(t, ok(t, "-d", device, "dump", "page", "1"), "blobfs.super")
	require.NotEmpty(t, ok(t, "-d", device, "dump", "journal"))
	require.Equal(t, exitUsage, blobcli("", "-d", device, "dump", "page", "-3").code)
	require.NotEqual(t, exitOK, blobcli("", "-d", device, "dump", "page", "99999999").code)
}
