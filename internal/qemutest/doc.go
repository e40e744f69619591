// Package qemutest boots a Debian kernel under QEMU's software emulation and runs a static Go program in it as a test
// binary: hardware that nobody here wrote, on any machine with QEMU. It is for tests only.
//
// On the host: Find looks for QEMU and a kernel (install.go, kernel.go), Image packs the program and the kernel modules
// into an initial RAM disk (initramfs.go, modules.go), Boot runs it (machine.go), speaks to the monitor (qmp.go) and sorts
// the guest's output by test (results.go). In the guest: Init is process 1 (guest_linux.go), Call asks the host for
// something. The two talk over the second serial port, one line each way; the first has the kernel's messages.
//
// LogWrites (logwrites.go) reads what QEMU's blklogwrites filter recorded and makes the image that a power cut could have
// left.
package qemutest
