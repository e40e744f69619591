package nvmebdev

import (
	"math"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/nvme/spec"
)

// warnings are the bits of SMART.CriticalWarning in words.
var warnings = []struct {
	bit  uint8
	text string
}{
	{spec.WarnSpare, "spare blocks are running out"},
	{spec.WarnTemperature, "temperature is out of range"},
	{spec.WarnReliability, "reliability is degraded"},
	{spec.WarnReadOnly, "media is read-only"},
	{spec.WarnVolatileFail, "backup of volatile memory has failed"},
	{spec.WarnPMR, "persistent memory region is unreliable"},
}

const (
	dataUnit   = 512_000 // bytes of a data unit of the SMART log (base 2.0, section 5.16.1.3)
	zeroKelvin = 273
)

// Warnings puts SMART.CriticalWarning in words.
func Warnings(critical uint8) (texts []string) {
	for _, w := range warnings {
		if critical&w.bit != 0 {
			texts = append(texts, w.text)
		}
	}
	return texts
}

// Health reads the controller's SMART log, waiting for it.
func (b *Backend) Health() (bdev.Health, error) {
	s, err := b.o.ctrl.SMART(spec.BroadcastNSID)
	if err != nil {
		return bdev.Health{}, translate(err)
	}
	return bdev.Health{
		Warnings: Warnings(s.CriticalWarning), TemperatureC: int(s.Temperature) - zeroKelvin,
		SparePercent: int(s.AvailableSpare), WearPercent: int(s.PercentageUsed),
		BytesRead: units(s.DataUnitsRead), BytesWritten: units(s.DataUnitsWritten),
		PowerOnHours: s.PowerOnHours.Saturated(), UnsafeShutdowns: s.UnsafeShutdowns.Saturated(),
		MediaErrors: s.MediaErrors.Saturated(), ControllerResets: b.o.ctrl.Resets(),
	}, nil
}

// units are data units in bytes, saturated.
func units(u spec.Uint128) uint64 {
	n := u.Saturated()
	if n > math.MaxUint64/dataUnit {
		return math.MaxUint64
	}
	return n * dataUnit
}
