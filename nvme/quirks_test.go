package nvme_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/spec"
)

// Offsets in identify controller data (base 2.0, figure 275).
const (
	idVendor       = 0
	idModel        = 24
	idSGLS         = 536
	idVendorStripe = 3072 + 3
)

// posing makes a software controller pass for a model of a vendor.
func posing(vendor uint16, name string, more func(page []byte)) softctrl.Config {
	return softctrl.Config{MangleIdentify: func(cns, _ uint8, _ uint32, page []byte) {
		if cns != spec.CNSController {
			return
		}
		page[idVendor], page[idVendor+1] = byte(vendor), byte(vendor>>8)
		copy(page[idModel:idModel+40], name)
		if more != nil {
			more(page)
		}
	}}
}

// TestQuirks: what the driver works around it leaves alone on the same model of another vendor.
func TestQuirks(t *testing.T) {
	const stranger = 0x1234
	stripe := func(page []byte) { page[idVendorStripe] = 5 } // 2^5 pages of 4 KiB
	sgl := func(page []byte) { page[idSGLS] = spec.SGLSDword }
	for _, vendor := range []uint16{0x8086, stranger} {
		r := newRig(t, setup{cfg: posing(vendor, "INTEL SSDPEDMD400G4", stripe)})
		want := map[uint16]uint64{0x8086: 32 * 4096 / blockSize}[vendor]
		require.Equal(t, want, r.ns.Info().Boundary)
		r = newRig(t, setup{cfg: posing(vendor, "INTEL SSDPEKKW256G7", nil)})
		require.Equal(t, vendor == stranger, r.ns.Info().Ops.Has(nvme.OpWriteZeroes))
	}
	for _, vendor := range []uint16{0x19E5, stranger} { // it says that it takes SGLs, and refuses them
		r := newRig(t, setup{cfg: posing(vendor, "HWE52P431T6M005N", sgl)})
		err := r.do(nvme.Request{Op: nvme.OpWrite, NS: r.ns, Buf: r.buf(64*blockSize, nil)})
		if vendor == stranger {
			require.ErrorIs(t, err, nvme.ErrInvalid)
		} else {
			require.NoError(t, err)
		}
	}
	for _, vendor := range []uint16{0x1C58, stranger} {
		r := newRig(t, setup{cfg: posing(vendor, "HUSPR3238ADP301", nil)})
		before := r.clock.Now()
		require.NoError(t, r.c.Reset())
		require.Equal(t, vendor != stranger, r.clock.Now()-before >= 2300*time.Millisecond)
	}
}
