// Package wire is the vfio-user protocol as pure data: the bytes of every message, encoded and decoded with size checks,
// and its limits. No I/O.
//
// The protocol is that of QEMU's specification (docs/interop/vfio-user.rst, version 0.1), as libvfio-user and SPDK speak it. Structures
// that it takes over from linux/vfio.h carry the names of that header in their comments. The specification says "endianness of the host":
// both ends are on one machine; this package is little-endian, as every machine that it is built for.
//
// A decoder takes the payload of one message, which follows the header, and returns an error that wraps ErrFormat for
// anything that is too short, contradicts itself or exceeds a limit. What it returns may point into the payload.
package wire
