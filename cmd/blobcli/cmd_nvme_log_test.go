package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/nvme/spec"
)

// TestTemperatureNotReported: 0 K stands for no temperature, and SPDK's target reports that.
func TestTemperatureNotReported(t *testing.T) {
	for kelvin, want := range map[uint16]string{0: "temperature not reported", 1: "-272 degrees Celsius", 313: "40 degrees Celsius"} {
		s := spec.SMART{Temperature: kelvin}
		var b strings.Builder
		smartOf("c", &s).text(&b)
		require.Contains(t, b.String(), want)
		require.Contains(t, healthText(&bdev.Health{TemperatureC: s.Celsius()}), want)
	}
}
