// Package qemu holds no code but tests: it boots QEMU with NVMe controllers of many kinds and runs the tests of package
// guest in there, over vfio-pci. `make test-nvme` runs a choice of the boots, `make test-nvme-full` all, `make
// bench-nvme` measures beside the kernel's driver; without them the package's tests are skipped, since they need QEMU and a
// kernel, which they install when run as root.
package qemu
