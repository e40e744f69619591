package nvme

import (
	"strings"
	"time"

	"github.com/blobkv/blobkv/nvme/spec"
)

// Quirks are deviations of controllers that the driver works around.
type Quirks uint32

// The quirks.
const (
	// QuirkDelayDisable: CSTS.RDY may not be read for some time after CC.EN was cleared, or the controller hangs. Seen with
	// HGST SN100 and Samsung PM1725 (Linux NVME_QUIRK_DELAY_BEFORE_CHK_RDY: 2.3 s).
	QuirkDelayDisable Quirks = 1 << iota
	// QuirkNoSGL: the controller says that it takes SGLs and corrupts or refuses them (SPDK NVME_QUIRK_NOT_USE_SGL).
	QuirkNoSGL
	// QuirkStripe: an Intel controller that wants I/O split at the stripe it names in byte 3 of the vendor's area, 2^n pages, and
	// says nothing of it in NOIOB (SPDK NVME_INTEL_QUIRK_STRIPING).
	QuirkStripe
	// QuirkNoWriteZeroes: write zeroes is offered and does not zero, or takes minutes (Linux NVME_QUIRK_DISABLE_WRITE_ZEROES).
	QuirkNoWriteZeroes
)

// quirkTable matches by the vendor and the start of the model that identify gives, so it serves every transport.
var quirkTable = []struct {
	vendor uint16
	model  string
	quirks Quirks
}{
	{0x1C58, "HUSPR", QuirkDelayDisable},           // HGST SN100
	{0x144D, "SAMSUNG MZWLL", QuirkDelayDisable},   // Samsung PM1725a
	{0x8086, "INTEL SSDPEDMD", QuirkStripe},        // Intel DC P3700, card
	{0x8086, "INTEL SSDPE2MD", QuirkStripe},        // Intel DC P3700, 2.5"
	{0x8086, "INTEL SSDPE2ME", QuirkStripe},        // Intel DC P3600
	{0x8086, "INTEL SSDPE2MX", QuirkStripe},        // Intel DC P3500
	{0x8086, "INTEL SSDPEKKW", QuirkNoWriteZeroes}, // Intel 600p
	{0x19E5, "HWE", QuirkNoSGL},                    // Huawei ES3000
}

func quirksOf(id *spec.IdentifyController) (q Quirks) {
	for _, e := range quirkTable {
		if e.vendor == id.VID && strings.HasPrefix(id.Model(), e.model) {
			q |= e.quirks
		}
	}
	return q
}

// disableDelay is how long not to look at CSTS after disabling. The model is known from the second boot on only, and the
// transport's own reset comes before the first.
func (q Quirks) disableDelay() time.Duration {
	if q&QuirkDelayDisable != 0 {
		return 2300 * time.Millisecond
	}
	return 0
}
