// Package softctrl is an NVMe controller in software: real submission and completion rings, doorbells, phase tags, PRPs and
// SGLs, over a small storage interface. It serves three purposes: the driver of package nvme is tested on it, with faults
// on demand; it is a device in its own right; and a vfio-user server can put it behind a socket.
//
// New makes a controller over a Memory, which translates the host's addresses. NewTransport puts it behind nvme.Transport in
// this process. A server calls Load and Store for register accesses, and Process in a loop where doorbells are shared memory.
//
// Nothing runs in the background: commands are carried out by whoever rings a doorbell (Store) or calls Process, before it
// returns. Slow commands (faults) wait for a later Process, or any register access, after their time; so do those that a QueuedStorage
// works on.
//
// Any goroutine may call any method. Different submission queues are served in parallel, so Storage is used in parallel. A controller
// with a QueuedStorage is used by one goroutine at a time.
//
// Locks: Controller.mu, then subQueue.mu, then compQueue.mu. Admin commands run with Controller.mu held.
//
// Not there: several controllers to a subsystem, reservations, directives, host memory buffers, ANA.
package softctrl
