//go:build !race

package vfsadapter

const (
	metamorphicSeeds = 10
	crashOps         = 1500
)
