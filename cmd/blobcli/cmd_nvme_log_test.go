package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/nvme/spec"
)

// TestTemperatureNotReported: 0 K stands for no temperature, and SPDK's target reports that.
func TestTemperatureNotReported(t *testing.T) {
	for _, c := range []struct {
		kelvin     uint16
		text, json string
	}{
		{0, "temperature not reported", "null"},
		{1, "-272 degrees Celsius", "-272"},
		{313, "40 degrees Celsius", "40"},
	} {
		s := spec.SMART{Temperature: c.kelvin}
		v, h := smartOf("c", &s), &bdev.Health{Warnings: s.Warnings(), TemperatureC: s.Celsius()}
		var b strings.Builder
		v.text(&b)
		require.Contains(t, b.String(), c.text)
		require.Contains(t, healthText(h), c.text)
		for _, object := range []any{v, h} {
			text, err := json.Marshal(object)
			require.NoError(t, err)
			require.Contains(t, string(text), `"temperature_celsius":`+c.json+",")
			require.Contains(t, string(text), `"warnings":[]`)
		}
	}
}
