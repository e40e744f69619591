package vfio

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/blobkv/blobkv/nvme"
)

// By says through which of the kernel's interfaces a controller is opened.
type By int

// Interfaces of the kernel.
const (
	ByAny   By = iota // the character device where there is one, the group otherwise
	ByGroup           // /dev/vfio/GROUP and the container /dev/vfio/vfio
	ByCDev            // /dev/vfio/devices/vfioN and /dev/iommu, Linux 6.6 on
)

// Options of Open. The zero value is right for most.
type Options struct {
	By By
}

// Device nodes.
const (
	nodeContainer = "/dev/vfio/vfio"
	nodeIOMMU     = "/dev/iommu"
)

// Open opens a controller of this machine that is bound to vfio-pci.
func Open(address string, o Options) (*Transport, error) { return System().Open(address, o) }

// Open opens a controller that is bound to vfio-pci: it maps its registers, makes an I/O address space that holds nothing
// but what Alloc and Map put there, and lets the controller be a bus master. Registers are left as they are. One process
// can have a controller open.
func (h *Host) Open(address string, o Options) (*Transport, error) {
	c, err := h.Controller(address)
	if err != nil {
		return nil, err
	}
	if err := h.mayOpen(c); err != nil {
		return nil, err
	}
	var (
		fd   int
		mmu  iommu
		free func() error
	)
	if node := h.cdev(c); o.By == ByCDev || o.By == ByAny && node != "" && exists(h.path(nodeIOMMU)) {
		fd, mmu, free, err = h.openCDev(c, node)
	} else {
		fd, mmu, free, err = h.openGroup(c)
	}
	if err != nil {
		return nil, err
	}
	t, err := newTransport(h.kernel, c.Address, fd, mmu, free)
	if err != nil {
		return nil, errors.Join(err, h.kernel.close(fd), free())
	}
	return t, nil
}

// mayOpen tells what stands against opening before any node is opened.
func (h *Host) mayOpen(c Controller) error {
	if err := h.isolated(c); err != nil {
		return err
	}
	switch c.Driver {
	case driverVFIO:
		return nil
	case "":
		return fmt.Errorf("%s is bound to no driver; `blobcli nvme bind %s` gives it to vfio-pci: %w", c.Address, c.Address, ErrBoundElsewhere)
	}
	return fmt.Errorf("%s is bound to %s; `blobcli nvme bind %s` gives it to vfio-pci: %w", c.Address, c.Driver, c.Address, ErrBoundElsewhere)
}

// cdev is the character device of a controller, "" where the kernel has none. Linux has the folder in sysfs from 6.1 on,
// and the device's number in it where there is a device.
func (h *Host) cdev(c Controller) string {
	for _, name := range names(h.device(c.Address, "vfio-dev")) {
		if exists(h.device(c.Address, "vfio-dev", name, "dev")) {
			return "/dev/vfio/devices/" + name
		}
	}
	return ""
}

// nodes are the device nodes through which a process can drive a controller.
func (h *Host) nodes(c Controller) []string {
	list := []string{fmt.Sprintf("/dev/vfio/%d", c.Group)}
	if node := h.cdev(c); node != "" {
		list = append(list, node)
	}
	return list
}

// openNode opens a device node and says what a refusal means.
func (h *Host) openNode(c Controller, node, absent string) (int, error) {
	fd, err := h.kernel.open(h.path(node))
	switch {
	case err == nil:
		return fd, nil
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return -1, fmt.Errorf("%s: %s may not be opened by this user (%s); `chown $USER %s` or a udev rule allows it: %w: %w",
			c.Address, node, h.kernel.owner(h.path(node)), node, ErrPermission, err)
	case errors.Is(err, syscall.EBUSY):
		if held := h.drivers(c); len(held) > 0 {
			return -1, inUse(c.Address, held)
		}
		return -1, fmt.Errorf("%s: %s is open in another process; one at a time can drive a controller: %w: %w", c.Address, node, ErrInUse, err)
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENXIO), errors.Is(err, syscall.ENODEV):
		return -1, fmt.Errorf("%s: no %s: %s: %w: %w", c.Address, node, absent, ErrNotLoaded, err)
	}
	return -1, fmt.Errorf("%s: opening %s: %w: %w", c.Address, node, ErrKernel, err)
}

// openGroup opens a controller through its group and a container of its own. free closes both once the device is closed.
func (h *Host) openGroup(c Controller) (fd int, mmu iommu, free func() error, err error) {
	k := h.kernel
	container, err := h.openNode(c, nodeContainer, "load vfio with `modprobe vfio-pci`")
	if err != nil {
		return -1, nil, nil, err
	}
	group := -1
	release := func() error {
		if group < 0 {
			return k.close(container)
		}
		return errors.Join(k.close(group), k.close(container))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, release())
		}
	}()
	if err = h.supportsType1(c, container); err != nil {
		return -1, nil, nil, err
	}
	group, err = h.openNode(c, fmt.Sprintf("/dev/vfio/%d", c.Group), "bind the controller to vfio-pci again")
	if err != nil {
		return -1, nil, nil, err
	}
	if err = h.joinContainer(c, container, group); err != nil {
		return -1, nil, nil, err
	}
	fd, err = k.ioctl(group, vfioGroupGetDeviceFD, append([]byte(c.Address), 0))
	if err != nil {
		return -1, nil, nil, fmt.Errorf("%s: its group has no such device for us: %w: %w", c.Address, ErrKernel, err)
	}
	return fd, &container1{k, container}, release, nil
}

// supportsType1 wants the version and the IOMMU model that this package speaks.
func (h *Host) supportsType1(c Controller, container int) error {
	v, err := h.kernel.ioctl(container, vfioGetAPIVersion, nil)
	if err != nil {
		return fmt.Errorf("%s: the version of vfio's interface: %w: %w", c.Address, ErrKernel, err)
	}
	if v != apiVersion {
		return fmt.Errorf("%s: the kernel's vfio speaks version %d of its interface, this package %d: %w", c.Address, v, apiVersion, nvme.ErrUnsupported)
	}
	v, err = h.kernel.ioctlValue(container, vfioCheckExtension, iommuType1v2)
	if err != nil {
		return fmt.Errorf("%s: which IOMMUs vfio has: %w: %w", c.Address, ErrKernel, err)
	}
	if v == 0 {
		return fmt.Errorf("%s: vfio has no type 1 IOMMU; load it with `modprobe vfio_iommu_type1`: %w", c.Address, ErrNotLoaded)
	}
	return nil
}

// joinContainer puts the group behind the IOMMU of the container.
func (h *Host) joinContainer(c Controller, container, group int) error {
	k := h.kernel
	status := words(8, 0)
	if _, err := k.ioctl(group, vfioGroupGetStatus, status); err != nil {
		return fmt.Errorf("%s: status of group %d: %w: %w", c.Address, c.Group, ErrKernel, err)
	}
	if native.Uint32(status[4:])&groupViable == 0 {
		if err := h.viable(c); err != nil {
			return err
		}
		return fmt.Errorf("%s: the kernel calls IOMMU group %d not viable, though none of its devices has a driver now; "+
			"try again: %w", c.Address, c.Group, ErrNotViable)
	}
	if _, err := k.ioctl(group, vfioGroupSetContainer, words(uint32(container))); err != nil {
		return fmt.Errorf("%s: group %d cannot join a container: %w: %w", c.Address, c.Group, ErrKernel, err)
	}
	_, err := k.ioctlValue(container, vfioSetIOMMU, iommuType1v2)
	switch {
	case errors.Is(err, syscall.EPERM):
		return fmt.Errorf("%s: the IOMMU cannot remap interrupts, so a device could forge them; switch interrupt remapping on in "+
			"the firmware (in QEMU: intel-iommu,intremap=on): %w: %w", c.Address, ErrNoIOMMU, err)
	case err != nil:
		return fmt.Errorf("%s: the container refuses the IOMMU: %w: %w", c.Address, ErrKernel, err)
	}
	return nil
}

// openCDev opens a controller through its character device and an I/O address space of its own.
func (h *Host) openCDev(c Controller, node string) (fd int, mmu iommu, free func() error, err error) {
	if node == "" {
		return -1, nil, nil, fmt.Errorf("%s has no character device of vfio: that takes Linux 6.6 with CONFIG_VFIO_DEVICE_CDEV; "+
			"open it by its group: %w", c.Address, nvme.ErrUnsupported)
	}
	k := h.kernel
	control, err := h.openNode(c, nodeIOMMU, "load iommufd with `modprobe iommufd`")
	if err != nil {
		return -1, nil, nil, err
	}
	release := func() error { return k.close(control) }
	if fd, err = h.openNode(c, node, "bind the controller to vfio-pci again"); err != nil {
		return -1, nil, nil, errors.Join(err, release())
	}
	ioas, err := h.attach(c, fd, control)
	if err != nil {
		return -1, nil, nil, errors.Join(err, k.close(fd), release())
	}
	return fd, &addressSpace{k, control, ioas}, release, nil
}

// attach binds the device to the iommufd and puts it into a new I/O address space.
func (h *Host) attach(c Controller, fd, control int) (ioas uint32, err error) {
	k := h.kernel
	if _, err := k.ioctl(fd, vfioDeviceBindIOMMUFD, words(16, 0, uint32(control), 0)); err != nil {
		switch {
		case errors.Is(err, syscall.EBUSY), errors.Is(err, syscall.EINVAL):
			if err := h.viable(c); err != nil {
				return 0, err
			}
			return 0, fmt.Errorf("%s: another process drives it: %w: %w", c.Address, ErrInUse, err)
		case errors.Is(err, syscall.EPERM):
			return 0, fmt.Errorf("%s: the IOMMU cannot remap interrupts, so a device could forge them; switch interrupt remapping "+
				"on in the firmware: %w: %w", c.Address, ErrNoIOMMU, err)
		}
		return 0, fmt.Errorf("%s: it cannot be bound to %s: %w: %w", c.Address, nodeIOMMU, ErrKernel, err)
	}
	alloc := words(12, 0, 0)
	if _, err := k.ioctl(control, iommuIOASAlloc, alloc); err != nil {
		return 0, fmt.Errorf("%s: no I/O address space: %w: %w", c.Address, ErrKernel, err)
	}
	ioas = native.Uint32(alloc[8:])
	if _, err := k.ioctl(fd, vfioDeviceAttachPT, words(12, 0, ioas)); err != nil {
		return 0, fmt.Errorf("%s: it cannot be attached to an I/O address space: %w: %w", c.Address, ErrKernel, err)
	}
	return ioas, nil
}
