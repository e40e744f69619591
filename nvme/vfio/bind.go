package vfio

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Bind takes a controller from the kernel's driver and gives it to vfio-pci; it does nothing where vfio-pci has it. It
// refuses a controller with a namespace in use, and one whose IOMMU group has a device of another kernel driver; nothing is
// changed then.
func (h *Host) Bind(address string) (err error) {
	c, err := h.Controller(address)
	if err != nil || c.Driver == driverVFIO {
		return err
	}
	if err := h.mayBind(c); err != nil {
		return err
	}
	held, taken := h.holders(c)
	defer func() { err = errors.Join(err, taken.Close()) }() // until it is gone, so that nobody mounts it in between
	if len(held) > 0 {
		return inUse(c.Address, held)
	}
	if err := h.rebind(c, driverVFIO); err != nil {
		return errors.Join(err, h.giveBack(c))
	}
	return nil
}

// inUse lists holders in an error.
func inUse(address string, held []Holder) error {
	text := make([]string, len(held))
	for i, d := range held {
		text[i] = d.String()
	}
	return fmt.Errorf("%s: %s; end that first: %w", address, strings.Join(text, "; "), ErrInUse)
}

// mayBind tells what stands against vfio-pci, without changing anything.
func (h *Host) mayBind(c Controller) error {
	if err := h.isolated(c); err != nil {
		return err
	}
	if !exists(h.path("sys/bus/pci/drivers", driverVFIO)) {
		return fmt.Errorf("%s: the kernel has no driver vfio-pci; load it with `modprobe vfio-pci`: %w", c.Address, ErrNotLoaded)
	}
	if c.Driver != "" && c.Driver != driverNVMe {
		return fmt.Errorf("%s is bound to %s, and whether something uses it through that cannot be told; if nothing does, "+
			"`echo %s > /sys/bus/pci/drivers/%s/unbind` and try again: %w", c.Address, c.Driver, c.Address, c.Driver, ErrBoundElsewhere)
	}
	return h.viable(c)
}

// isolated wants a real IOMMU around the controller.
func (h *Host) isolated(c Controller) error {
	if c.Group < 0 {
		return fmt.Errorf("%s has no IOMMU group: switch the IOMMU on in the firmware (VT-d, AMD-Vi, SMMU) and boot with "+
			"intel_iommu=on or amd_iommu=on; in a virtual machine its host has to offer one: %w", c.Address, ErrNoIOMMU)
	}
	if attribute(h.path("sys/kernel/iommu_groups", fmt.Sprint(c.Group), "name")) == "vfio-noiommu" {
		return fmt.Errorf("%s is in vfio's unsafe no-IOMMU mode, in which the controller could overwrite any memory of the "+
			"machine; that is refused: unload vfio, load it without enable_unsafe_noiommu_mode, and use an IOMMU: %w", c.Address, ErrNoIOMMU)
	}
	return nil
}

// harmless are drivers that do not keep a group from being viable: they do no DMA for the kernel.
var harmless = []string{"", driverVFIO, "pci-stub", "pcieport"}

// viable wants every other device of the group out of the hands of the kernel's drivers.
func (h *Host) viable(c Controller) error {
	if bad := h.obstacles(c); len(bad) > 0 {
		return fmt.Errorf("%s shares IOMMU group %d with %s; a group is used as a whole: unbind these too, or put the drive "+
			"in a slot with a group of its own: %w", c.Address, c.Group, strings.Join(bad, ", "), ErrNotViable)
	}
	return nil
}

// obstacles names the other devices of the controller's group that have a kernel driver.
func (h *Host) obstacles(c Controller) (bad []string) {
	for _, other := range names(h.path("sys/kernel/iommu_groups", fmt.Sprint(c.Group), "devices")) {
		driver := target(h.device(other, "driver"))
		if other != c.Address && !slices.Contains(harmless, driver) {
			bad = append(bad, fmt.Sprintf("%s (driver %s)", other, driver))
		}
	}
	return bad
}

// rebind unbinds a controller and lets the named driver take it; "" leaves the choice to the kernel.
func (h *Host) rebind(c Controller, driver string) error {
	override := driver
	if override == "" {
		override = "\n" // ends an earlier override
	}
	if err := h.set(h.device(c.Address, "driver_override"), override); err != nil {
		return err
	}
	if exists(h.device(c.Address, "driver")) {
		if err := h.set(h.device(c.Address, "driver/unbind"), c.Address); err != nil {
			return err
		}
	}
	if err := h.set(h.path("sys/bus/pci/drivers_probe"), c.Address); err != nil {
		return err
	}
	if now := target(h.device(c.Address, "driver")); driver != "" && now != driver {
		return fmt.Errorf("%s: asked for %s, but the kernel bound %q; its log (dmesg) says why: %w", c.Address, driver, now, ErrKernel)
	}
	return nil
}

// giveBack undoes a rebind that failed half way.
func (h *Host) giveBack(c Controller) error {
	if target(h.device(c.Address, "driver")) == c.Driver {
		return h.set(h.device(c.Address, "driver_override"), "\n")
	}
	if err := h.rebind(c, ""); err != nil {
		return fmt.Errorf("%s could not be given back to %q: %w", c.Address, c.Driver, err)
	}
	return nil
}

// Unbind takes a controller from vfio-pci and gives it back to the kernel's nvme driver. It refuses while a process drives
// the controller, because the kernel would wait for that process without end.
func (h *Host) Unbind(address string) error {
	c, err := h.Controller(address)
	if err != nil || c.Driver == driverNVMe {
		return err
	}
	if c.Driver != driverVFIO && c.Driver != "" {
		return fmt.Errorf("%s is bound to %s, not to vfio-pci; `echo %s > /sys/bus/pci/drivers/%s/unbind` takes it from that: %w",
			c.Address, c.Driver, c.Address, c.Driver, ErrBoundElsewhere)
	}
	if held := h.drivers(c); len(held) > 0 {
		return inUse(c.Address, held)
	}
	if err := h.rebind(c, ""); err != nil {
		return err
	}
	switch now := target(h.device(c.Address, "driver")); now {
	case driverNVMe:
		return nil
	case "":
		return fmt.Errorf("%s is free of vfio-pci, but no driver took it; load the kernel's with `modprobe nvme`: %w", c.Address, ErrNotLoaded)
	default:
		return fmt.Errorf("%s is free, but the kernel bound it to %s: %w", c.Address, now, ErrBoundElsewhere)
	}
}

// drivers lists the processes that drive a controller through vfio, this one included where it does.
func (h *Host) drivers(c Controller) []Holder {
	var held []Holder
	for _, node := range h.nodes(c) {
		held = append(held, h.openers(node, node)...)
	}
	return held
}
