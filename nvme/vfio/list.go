package vfio

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Names of drivers.
const (
	driverVFIO = "vfio-pci"
	driverNVMe = "nvme"
)

// classNVMe is the PCI class of NVMe I/O controllers: mass storage, non-volatile memory, NVM Express.
const classNVMe = 0x010802

// sectorBytes is the unit of sizes in sysfs.
const sectorBytes = 512

// Controller is what sysfs tells about one NVMe controller, bound to whichever driver.
type Controller struct {
	Address        string      // 0000:01:00.0
	Vendor, Device uint16      // PCI ids
	Driver         string      // nvme, vfio-pci, …; "" while none is bound
	Group          int         // IOMMU group, -1 without an IOMMU
	NUMANode       int         // -1 where the machine does not say
	Kernel         string      // the kernel's name for it (nvme0), "" unless its nvme driver is bound
	Model, Serial  string      // as the kernel's nvme driver read them, "" unless it is bound
	Firmware       string      // likewise
	Namespaces     []Namespace // likewise
}

// Namespace is a block device of the kernel's nvme driver.
type Namespace struct {
	Name string // nvme0n1
	ID   uint32 // namespace identifier, 0 where the kernel does not say
	Size int64  // bytes
}

// Size is the sum of the namespaces' sizes in bytes, 0 unless the kernel's nvme driver is bound.
func (c Controller) Size() (bytes int64) {
	for _, n := range c.Namespaces {
		bytes += n.Size
	}
	return bytes
}

// List returns the NVMe controllers of the machine in the order of their addresses.
func (h *Host) List() ([]Controller, error) {
	if err := h.check(); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(h.path("sys/bus/pci/devices"))
	if err != nil {
		return nil, fmt.Errorf("no list of PCI devices: is sysfs mounted on /sys? %w", err)
	}
	var list []Controller
	for _, e := range entries {
		if number(h.device(e.Name(), "class"), 0) == classNVMe {
			list = append(list, h.read(e.Name()))
		}
	}
	slices.SortFunc(list, func(a, b Controller) int { return strings.Compare(a.Address, b.Address) })
	return list, nil
}

// Controller returns one controller. The address may lack the domain, which is 0000 then.
func (h *Host) Controller(address string) (Controller, error) {
	if err := h.check(); err != nil {
		return Controller{}, err
	}
	a, err := ParseAddress(address)
	if err != nil {
		return Controller{}, fmt.Errorf("%w; %s", err, h.known())
	}
	name := a.String()
	if !exists(h.device(name)) {
		return Controller{}, fmt.Errorf("%s: no PCI device has this address; %s: %w", name, h.known(), ErrNotFound)
	}
	if class := number(h.device(name, "class"), 0); class != classNVMe {
		return Controller{}, fmt.Errorf("%s is a PCI device of class %#06x, not an NVMe controller (%#06x); %s: %w",
			name, class, classNVMe, h.known(), ErrNotFound)
	}
	return h.read(name), nil
}

// known says which controllers there are, for messages.
func (h *Host) known() string {
	list, err := h.List()
	if err != nil || len(list) == 0 {
		return "this machine has no NVMe controllers on PCI"
	}
	addresses := make([]string, len(list))
	for i, c := range list {
		addresses[i] = c.Address
	}
	return "NVMe controllers here: " + strings.Join(addresses, ", ")
}

// read gathers what sysfs has on a controller.
func (h *Host) read(address string) Controller {
	c := Controller{
		Address:  address,
		Vendor:   uint16(number(h.device(address, "vendor"), 0)),
		Device:   uint16(number(h.device(address, "device"), 0)),
		Driver:   target(h.device(address, "driver")),
		Group:    h.group(address),
		NUMANode: int(number(h.device(address, "numa_node"), -1)),
	}
	for _, name := range names(h.device(address, "nvme")) {
		folder := h.device(address, "nvme", name)
		c.Kernel = name
		c.Model, c.Serial = attribute(filepath.Join(folder, "model")), attribute(filepath.Join(folder, "serial"))
		c.Firmware = attribute(filepath.Join(folder, "firmware_rev"))
		c.Namespaces = h.namespaces(folder)
	}
	return c
}

// group is the IOMMU group of a device, -1 where it has none.
func (h *Host) group(address string) int {
	name := target(h.device(address, "iommu_group"))
	var n int
	if _, err := fmt.Sscanf(name, "%d", &n); err != nil {
		return -1
	}
	return n
}

// namespaces lists the block devices of a controller of the kernel's driver. With native multipath a controller's own ones
// are hidden (nvme0c1n2), and the one to open (nvme0n2) belongs to the subsystem.
func (h *Host) namespaces(folder string) []Namespace {
	var list []Namespace
	for _, name := range names(folder) {
		block, ok := blockName(name)
		if !ok {
			continue
		}
		list = append(list, Namespace{
			Name: block,
			ID:   uint32(number(h.path("sys/class/block", block, "nsid"), 0)),
			Size: number(h.path("sys/class/block", block, "size"), 0) * sectorBytes,
		})
	}
	return list
}

// blockName turns the name of a namespace in a controller's folder into that of the block device, and refuses what is no
// namespace (ng0n1, hwmon1, power …).
func blockName(name string) (string, bool) {
	rest, ok := strings.CutPrefix(name, "nvme")
	if !ok {
		return "", false
	}
	instance, rest := digits(rest)
	if tail, hidden := strings.CutPrefix(rest, "c"); hidden {
		var path string
		if path, rest = digits(tail); path == "" {
			return "", false
		}
	}
	id, end := digits(strings.TrimPrefix(rest, "n"))
	if instance == "" || id == "" || end != "" || !strings.HasPrefix(rest, "n") {
		return "", false
	}
	return "nvme" + instance + "n" + id, true
}

// digits splits a text behind its leading digits.
func digits(s string) (number, rest string) {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return s[:i], s[i:]
}
