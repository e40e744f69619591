// Package mallocbdev is a RAM device: gone at close, never durable, fast. It is the template for backends: New reads a
// Config, Properties declares what the device is, NewQueue and Execute carry out requests, and the core does the rest.
package mallocbdev
