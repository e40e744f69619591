// Package spec holds the registers, commands and data structures of NVM Express as pure data: base specification 2.0,
// NVM command set 1.0, zoned namespace command set 1.1. Field and constant names are the specification's. Nothing here
// does I/O or keeps state.
//
// Every structure is laid out by one method that lists each field with its byte offset; marshalling and unmarshalling
// both run it, so the two cannot differ. All integers are little-endian. Unmarshal checks the length and nothing else:
// what a controller says is judged by package nvme.
package spec
