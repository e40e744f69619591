//go:build !race

package vfsadapter

const (
	metamorphicSeeds = 10
	metamorphicOps   = 2000
	crashOps         = 1500
	randomRuns       = 5
)
