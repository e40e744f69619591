package wire

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
)

// The version of the protocol that this package speaks.
const (
	Major = 0
	Minor = 1
)

// maxVersionData bounds the JSON of a version message, in bytes.
const maxVersionData = 4096

// Version opens a connection, and answers that.
//
//	OFFSET SIZE FIELD
//	0      2    Major
//	2      2    Minor
//	4      ...  JSON, ends with a zero byte; may be missing
type Version struct {
	Major, Minor uint16
	Capabilities Capabilities
}

// Capabilities is what the sender of a Version can do. ParseVersion fills in what was not said.
type Capabilities struct {
	MaxFDs      int    // descriptors that it receives in one message
	MaxTransfer int    // bytes of data in one read or write
	MaxMaps     int    // DMA maps at a time
	PageSizes   uint64 // of DMA maps: the sizes, or'ed together
}

// Defaults of the protocol.
const (
	defaultMaxFDs    = 1
	defaultTransfer  = 1 << 20
	defaultMaxMaps   = 65535
	defaultPageSizes = 4096
	minTransfer      = 64 // a register and a config space header fit
)

// versionJSON is the form of the JSON. A missing number keeps its default, what else may be there is ignored. The
// capability twin_socket is neither offered nor taken: commands of the server come over the one socket.
type versionJSON struct {
	Capabilities *capsJSON `json:"capabilities,omitempty"`
}

type capsJSON struct {
	MaxFDs      *int64  `json:"max_msg_fds,omitempty"`
	MaxTransfer *int64  `json:"max_data_xfer_size,omitempty"`
	MaxMaps     *int64  `json:"max_dma_maps,omitempty"`
	PageSizes   *uint64 `json:"pgsizes,omitempty"`
}

// Append encodes the message's payload.
func (v *Version) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, v.Major)
	b = binary.LittleEndian.AppendUint16(b, v.Minor)
	c := v.Capabilities
	fds, transfer, maps := int64(c.MaxFDs), int64(c.MaxTransfer), int64(c.MaxMaps)
	text, err := json.Marshal(versionJSON{&capsJSON{MaxFDs: &fds, MaxTransfer: &transfer, MaxMaps: &maps, PageSizes: &c.PageSizes}})
	if err != nil { // integers always encode
		return append(b, 0)
	}
	return append(append(b, text...), 0)
}

// ParseVersion decodes a version message.
func ParseVersion(b []byte) (Version, error) {
	if len(b) < 4 {
		return Version{}, tooShort("version", len(b), 4)
	}
	v := Version{
		Major:        binary.LittleEndian.Uint16(b[0:]),
		Minor:        binary.LittleEndian.Uint16(b[2:]),
		Capabilities: Capabilities{MaxFDs: defaultMaxFDs, MaxTransfer: defaultTransfer, MaxMaps: defaultMaxMaps, PageSizes: defaultPageSizes},
	}
	data := b[4:]
	if len(data) == 0 {
		return v, nil
	}
	if len(data) > maxVersionData {
		return Version{}, fmt.Errorf("%w: %d bytes of capabilities, at most %d", ErrFormat, len(data), maxVersionData)
	}
	if data[len(data)-1] != 0 {
		return Version{}, fmt.Errorf("%w: capabilities do not end with a zero byte", ErrFormat)
	}
	if err := v.Capabilities.parse(data[:len(data)-1]); err != nil {
		return Version{}, err
	}
	return v, nil
}

func (c *Capabilities) parse(text []byte) error {
	var doc versionJSON
	if err := json.Unmarshal(text, &doc); err != nil {
		return fmt.Errorf("%w: capabilities: %w", ErrFormat, err)
	}
	if doc.Capabilities == nil {
		return nil
	}
	caps := doc.Capabilities
	for _, f := range []struct {
		name     string
		from     *int64
		to       *int
		min, max int64
	}{
		{"max_msg_fds", caps.MaxFDs, &c.MaxFDs, 0, 1 << 16},
		{"max_data_xfer_size", caps.MaxTransfer, &c.MaxTransfer, minTransfer, 1 << 40},
		{"max_dma_maps", caps.MaxMaps, &c.MaxMaps, 1, 1 << 32},
	} {
		if f.from == nil {
			continue
		}
		if *f.from < f.min || *f.from > f.max {
			return fmt.Errorf("%w: %s is %d, want %d to %d", ErrFormat, f.name, *f.from, f.min, f.max)
		}
		*f.to = int(min(*f.from, 1<<30)) // so that int32 holds it too
	}
	if caps.PageSizes != nil {
		c.PageSizes = *caps.PageSizes
	}
	return nil
}
