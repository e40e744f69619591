// Package nvmetest has the tests that every nvme.Transport passes, whatever lies behind it: Transport drives a controller
// with the least code that moves data by DMA. Tests of the driver itself start from there.
package nvmetest
