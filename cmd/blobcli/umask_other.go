//go:build !unix

package main

// currentUmask is 0 where there is none.
func currentUmask() uint32 { return 0 }
