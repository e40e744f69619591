//go:build cgo

package main

// cgoEnabled says where Pebble keeps its block cache and memtables: in the C heap.
const cgoEnabled = true
