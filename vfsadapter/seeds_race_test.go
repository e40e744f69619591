//go:build race

package vfsadapter

// The race detector (and the invariant checks that Pebble turns on with it) make each run ten times as long.
const (
	metamorphicSeeds = 2
	metamorphicOps   = 1000
	crashOps         = 300
	randomRuns       = 1
)
