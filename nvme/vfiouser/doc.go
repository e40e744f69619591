// Package vfiouser reaches an NVMe controller in another process over a vfio-user socket (Client, an nvme.Transport), and
// serves one to other processes (Server). Client and server share memory: the client's DMA memory is memfds that the server
// maps, the doorbells are a memfd of the server that the client maps. So no command passes through the socket; registers, maps and interrupts
// do. Linux only; elsewhere Open and Listen return nvme.ErrUnsupported.
//
// # Who runs what
//
// A Client has one goroutine, which reads the socket from Open to Close. A Server has the one that called Serve: it alone
// reads the socket, calls the controller and touches the client's memory, so nothing of a session needs a lock, and memory that
// is unmapped is not in use. While there is work it spins; then it sleeps in ppoll(2) on the socket, longer and longer
// up to a bound, because a store to shared memory wakes nobody. A message does: a client that waits sends one (Wake).
//
// # Trust
//
// Both ends check every byte that comes through the socket. Shared memory is another matter: a server can write to all memory
// that the client gave it, as a device can without an IOMMU. A client cannot hurt the server: what it maps is checked against
// the file's size, and a file that shrinks later ends the session, not the process.
//
// # Where to read on
//
// wire (the bytes), socket_linux.go (messages with descriptors), client_linux.go, dma_linux.go, server_linux.go, session_linux.go,
// memory_linux.go.
package vfiouser
