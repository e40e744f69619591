//go:build !race

package bdevtest

const raceEnabled = false
