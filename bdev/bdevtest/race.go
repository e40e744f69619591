//go:build race

package bdevtest

const raceEnabled = true
