package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrFormat is wrapped by every error of a decoder.
var ErrFormat = errors.New("malformed vfio-user message")

// Command says what a message is about.
type Command uint16

// The commands, with their direction. DMARead and DMAWrite go from the server to the client, all others the other way.
const (
	CmdVersion      Command = 1
	CmdDMAMap       Command = 2
	CmdDMAUnmap     Command = 3
	CmdDeviceInfo   Command = 4
	CmdRegionInfo   Command = 5
	CmdRegionIOFDs  Command = 6
	CmdIRQInfo      Command = 7
	CmdSetIRQs      Command = 8
	CmdRegionRead   Command = 9
	CmdRegionWrite  Command = 10
	CmdDMARead      Command = 11
	CmdDMAWrite     Command = 12
	CmdReset        Command = 13
	CmdWriteMulti   Command = 15
	CmdFeature      Command = 16
	CmdMigDataRead  Command = 17
	CmdMigDataWrite Command = 18
)

var commandNames = map[Command]string{
	CmdVersion: "version", CmdDMAMap: "DMA map", CmdDMAUnmap: "DMA unmap", CmdDeviceInfo: "device info", CmdRegionInfo: "region info",
	CmdRegionIOFDs: "region I/O descriptors", CmdIRQInfo: "interrupt info", CmdSetIRQs: "set interrupts", CmdRegionRead: "region read",
	CmdRegionWrite: "region write", CmdDMARead: "DMA read", CmdDMAWrite: "DMA write", CmdReset: "device reset",
	CmdWriteMulti: "multiple region writes", CmdFeature: "device feature", CmdMigDataRead: "migration data read", CmdMigDataWrite: "migration data write",
}

// String is the command in words.
func (c Command) String() string {
	if name, ok := commandNames[c]; ok {
		return name
	}
	return fmt.Sprintf("command %d", uint16(c))
}

// Flags of a Header.
const (
	FlagReply   uint32 = 1 << 0 // the message answers a command
	FlagNoReply uint32 = 1 << 4 // of a command: nobody waits for an answer
	FlagError   uint32 = 1 << 5 // of a reply: Errno says what went wrong, and there is no payload

	typeMask uint32 = 0xf
)

// Limits of this implementation.
const (
	// HeaderSize is the size of a Header, in bytes.
	HeaderSize = 16
	// MaxTransfer is the most data that one read or write carries, in bytes (max_data_xfer_size; the default of the protocol).
	MaxTransfer = 1 << 20
	// MaxMessage is the largest message, header included, in bytes.
	MaxMessage = MaxTransfer + 4096
	// MaxFDs is how many file descriptors one message carries (max_msg_fds).
	MaxFDs = 16
	// maxErrno is the largest error number that a reply carries.
	maxErrno = 4095
)

// Header starts every message.
//
//	OFFSET SIZE FIELD
//	0      2    ID, chosen by the sender of the command, repeated in the reply
//	2      2    Command, repeated in the reply
//	4      4    Size of the message with this header, in bytes
//	8      4    Flags
//	12     4    Errno, of replies with FlagError
type Header struct {
	ID      uint16
	Command Command
	Size    uint32
	Flags   uint32
	Errno   uint32
}

// IsReply tells a reply from a command.
func (h *Header) IsReply() bool { return h.Flags&typeMask == FlagReply }

// Put encodes the header into the first HeaderSize bytes of b.
func (h *Header) Put(b []byte) {
	binary.LittleEndian.PutUint16(b[0:], h.ID)
	binary.LittleEndian.PutUint16(b[2:], uint16(h.Command))
	binary.LittleEndian.PutUint32(b[4:], h.Size)
	binary.LittleEndian.PutUint32(b[8:], h.Flags)
	binary.LittleEndian.PutUint32(b[12:], h.Errno)
}

// ParseHeader decodes a header. After an error the stream cannot be followed any more.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, tooShort("header", len(b), HeaderSize)
	}
	h := Header{
		ID:      binary.LittleEndian.Uint16(b[0:]),
		Command: Command(binary.LittleEndian.Uint16(b[2:])),
		Size:    binary.LittleEndian.Uint32(b[4:]),
		Flags:   binary.LittleEndian.Uint32(b[8:]),
		Errno:   binary.LittleEndian.Uint32(b[12:]),
	}
	switch {
	case h.Size < HeaderSize || h.Size > MaxMessage:
		return Header{}, fmt.Errorf("%w: %v of %d bytes, want %d to %d", ErrFormat, h.Command, h.Size, HeaderSize, MaxMessage)
	case h.Flags&typeMask > FlagReply:
		return Header{}, fmt.Errorf("%w: %v of type %d", ErrFormat, h.Command, h.Flags&typeMask)
	case h.Flags&FlagError == 0 || !h.IsReply():
		h.Errno = 0 // reserved
	case h.Errno > maxErrno:
		h.Errno = 0 // "may be zero": unknown
	}
	return h, nil
}

func tooShort(what string, have, want int) error {
	return fmt.Errorf("%w: %s of %d bytes, want %d", ErrFormat, what, have, want)
}

// checkArgSize checks the first field of most requests: the room that the sender has for the reply, or the size of the
// request. It must admit the fixed part of the structure.
func checkArgSize(what string, b []byte, fixed int) error {
	if len(b) < fixed {
		return tooShort(what, len(b), fixed)
	}
	if argsz := binary.LittleEndian.Uint32(b); argsz < uint32(fixed) {
		return fmt.Errorf("%w: %s with argsz %d, want at least %d", ErrFormat, what, argsz, fixed)
	}
	return nil
}
