// Package bdevtest is the conformance suite of block devices: every backend's test calls Run with a function that opens
// a fresh device, and every backend has to behave alike.
//
// The device must be at least MinSize bytes. The suite closes what it opens and fails if requests are left behind. Cases
// that draw random numbers log their seed; set BDEVTEST_SEED to repeat one.
package bdevtest
