// Package vfio reaches NVMe controllers on PCI from user space: it lists them from sysfs, hands them from the kernel's
// driver to vfio-pci and back, and opens one as an nvme.Transport behind the machine's IOMMU.
//
// Reading order: list.go (what sysfs tells), holders.go and bind.go (who uses a controller, and its way to vfio-pci),
// open.go (group and container, or the character device and iommufd), transport.go, bar.go, dma.go, interrupt.go.
// wire.go holds the kernel's structures, kernel.go what is asked of the operating system; tests replace that and the root
// of the file system, so all but kernel_linux.go runs without hardware and on every platform.
//
// Looking (List, Holders) opens no device node and writes nothing. Sources: the kernel's Documentation/driver-api/vfio.rst,
// userspace-api/iommufd.rst, uapi/linux/vfio.h and iommufd.h.
package vfio
