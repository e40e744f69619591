// Package nvmetest has tests that run on any NVMe controller, whatever lies between: Transport are those that every
// nvme.Transport passes, with a queue driven by hand (admin.go); Driver are those of package nvme itself. Both are told what
// the controller is (config.go) and hold the driver to it. They run in process on the software controller, and in a virtual
// machine on QEMU's.
package nvmetest
