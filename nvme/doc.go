// Package nvme drives NVMe controllers from user space: it owns the queue pairs, rings the doorbells and polls the phase
// tags. A passive library: nothing runs but what its caller calls. Terms and numbers are those of the NVM Express base
// specification 2.0 and its NVM command set specification 1.0.
//
// Open takes a Transport, initialises the controller and scans its namespaces. OpenQueue gives an I/O queue pair: Submit is
// safe from any goroutine, Poll is called by one goroutine at a time (whoever borrows the queue). Admin commands are
// methods of Controller that wait; any goroutine may call them.
//
// Somebody calls Controller.Poll every few milliseconds to a second, as precise as timeouts are to be: it takes
// asynchronous events, looks for commands that took too long and for a controller that failed or left, and carries resets
// on, one step at a time. It never blocks, but while the transport resets the whole function (Transport.Reset). Waiting methods
// call it themselves.
//
// A request that was submitted comes back: with success, with the controller's status, or with an error after the timeouts
// of Options. A reset sends outstanding requests again that may be repeated (reads, writes, flushes, write zeroes,
// deallocate, verify, compare), and fails the rest with ErrReset.
//
// Buffers are slices of memory that was registered (Register, Alloc); the driver looks the I/O address up by itself.
// Submitting and polling allocate nothing.
//
// Reading order: transport.go, controller.go (state), boot.go (initialisation), queue.go (rings), submit.go (commands out of
// requests), poll.go (completions), maintain.go (time), namespace.go and scan.go, then the admin commands (admin.go,
// admin_rules.go).
//
// Locks: Controller.mu before Queue.mu; neither is held while OnEvent runs.
package nvme
