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
}

// TestDelayAfterDisable: a controller that hangs when CSTS is read too early is not asked, in a reset and in Close.
func TestDelayAfterDisable(t *testing.T) {
	for _, vendor := range []uint16{0x1C58, 0x1234} {
		var clock *fakeClock
		disabled, early := time.Duration(-1), 0
		h := &hooked{load: func(offset uint32, v uint64) uint64 {
			if offset == spec.RegCSTS && disabled >= 0 && clock.Now()-disabled < 2300*time.Millisecond {
				early++
			}
			return v
		}}
		c, fake, err := openHooked(t, posing(vendor, "HUSPR3238ADP301", nil), h)
		require.NoError(t, err)
		clock = fake
		h.store = func(offset uint32, v uint64) bool {
			if offset == spec.RegCC {
				disabled = -1
				if !spec.CC(v).EN() {
					disabled = clock.Now()
				}
			}
			return true
		}
		for _, stop := range []func() error{c.Reset, c.Close} {
			early = 0
			require.NoError(t, stop())
			require.Equal(t, vendor == 0x1234, early > 0)
		}
	}
}
