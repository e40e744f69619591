// Package guest holds no code but tests, which run in a virtual machine that package qemu boots: they bind the machine's
// NVMe controllers to vfio-pci and drive them. Elsewhere there is nothing to run.
package guest
