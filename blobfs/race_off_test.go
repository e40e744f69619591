//go:build !race

package blobfs

// raceEnabled shortens tests that the race detector slows down.
const raceEnabled = false
