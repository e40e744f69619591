package main

import (
	"os"
	"testing"
)

// TestMain lets the test binary be the engine process that the code under test starts.
func TestMain(m *testing.M) {
	if isEngineProcess(os.Args) {
		os.Exit(engineMain(os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}
