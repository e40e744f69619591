package vfio

import "errors"

// Sentinels of this package beside those of package nvme. Every error says what was wrong and what to do about it.
var (
	ErrNotFound       = errors.New("no such NVMe controller")                    // address misspelled, or of another kind of device
	ErrInUse          = errors.New("controller is in use")                       // a namespace is mounted, swapped to, held or open; another process drives it
	ErrBoundElsewhere = errors.New("controller is bound to another driver")      // Open before Bind, Bind of a foreign driver's controller
	ErrNoIOMMU        = errors.New("no IOMMU protects memory from this device")  // switched off, absent, or vfio's unsafe no-IOMMU mode
	ErrNotViable      = errors.New("IOMMU group is not viable")                  // another device of the group has a kernel driver
	ErrPermission     = errors.New("permission denied")                          // device node or sysfs attribute
	ErrLockedMemory   = errors.New("too few locked pages")                       // RLIMIT_MEMLOCK
	ErrNoSpace        = errors.New("no I/O addresses or mappings are left")      // IOVA ranges, dma_entry_limit
	ErrKernel         = errors.New("the kernel refused")                         // anything else, errno wrapped
	ErrBadReply       = errors.New("the kernel's answer cannot be understood")   // sizes and offsets that contradict each other
	ErrBadAccess      = errors.New("access outside of what the controller maps") // a register offset, a vector, a slice never mapped
	ErrNotLoaded      = errors.New("a kernel module is missing")                 // vfio-pci, nvme
)
