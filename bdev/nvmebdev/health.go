package nvmebdev

import (
	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/nvme/spec"
)

// Health reads the controller's SMART log, waiting for it.
func (b *Backend) Health() (bdev.Health, error) {
	s, err := b.o.ctrl.SMART(spec.BroadcastNSID)
	if err != nil {
		return bdev.Health{}, translate(err)
	}
	return bdev.Health{
		Warnings: s.Warnings(), TemperatureC: s.Celsius(),
		SparePercent: int(s.AvailableSpare), WearPercent: int(s.PercentageUsed),
		BytesRead: spec.DataUnitBytes(s.DataUnitsRead), BytesWritten: spec.DataUnitBytes(s.DataUnitsWritten),
		PowerOnHours: s.PowerOnHours.Saturated(), UnsafeShutdowns: s.UnsafeShutdowns.Saturated(),
		MediaErrors: s.MediaErrors.Saturated(), ControllerResets: b.o.ctrl.Resets(),
	}, nil
}
