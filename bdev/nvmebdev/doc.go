// Package nvmebdev is the block device over the userspace NVMe driver: a namespace of a controller on PCI (bound to
// vfio-pci), of one that another process serves over a vfio-user socket, or of a software controller in this process.
//
// One queue of the block layer is one queue pair of the driver, and polling it is polling the completion ring: no lock is
// shared with another queue, and no system call is made. Buffers from the pools of package dmabuf are registered with
// the controller when they are first used and read and written in place; the core bounces all others through such ones.
//
// # One controller, several devices
//
// A process owns a controller once. Devices on the same controller, or several readers of one namespace, share it
// (owner.go), and the last one to close shuts it down. A namespace has one writer or any number of readers.
//
// # Waiting
//
// A poller that is to sleep needs an interrupt. Interrupts cost a system call or more for every completion, also while
// polling, so a queue has one only where that pays: with the policy sleep, and with adaptive on PCI, provided the
// controller has a vector for it. With adaptive it is masked while the poller spins. Elsewhere Wait sleeps in short steps
// that grow; before, it rings the doorbell of a controller behind a socket once more, because that one may sleep.
//
// # Health, timeouts, removal
//
// Each controller has a reactor that polls it every 100 ms, every millisecond while it is being reset: it takes events,
// finds commands that took too long, and carries resets on. So a controller that dies is an error after its timeout. A
// namespace that is resized changes the size of its devices; one that is detached or formatted with other blocks fails
// all requests with bdev.ErrGone until the device is opened again.
//
// Reading order: config.go, target.go (from name to transport), owner.go, watch.go, memory.go, backend.go, queue.go,
// wait_linux.go, errors.go.
package nvmebdev
