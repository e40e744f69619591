// Package dmabuf owns device memory: buffers outside the Go heap, aligned for direct I/O, in power-of-two size
// classes from 4 KiB to 4 MiB, from pools with a bound.
//
// A buffer belongs to whoever got it until Put. Get and Put allocate nothing once a class has been used. The bound
// counts the buffers that are handed out and the idle ones, which are kept for reuse up to a mark and returned to the
// operating system above it. Any goroutine may call any method.
//
// Get waits for others to Put, so nobody holds a buffer of a pool for long, or while waiting for another one of the same
// pool: what is kept comes from a pool of its owner's. A Region is memory of any size for one owner.
package dmabuf
