package open

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/internal/size"
)

// Spec is a parsed device name. Zero fields were not given.
type Spec struct {
	Scheme     string // malloc, aio, file, nvme, nvme-sim
	Path       string // of the image or block device, decoded; empty without one
	Size       int64  // bytes
	Block      int    // bytes
	Channels   int
	Policy     *bdev.Policy
	Controller string // of nvme: a PCI address or vfio-user:DIR
	Namespace  uint32 // of nvme
	Queues     int    // of nvme and nvme-sim
}

// String is the canonical name: scheme and, where given, options in a fixed order. Parse reads it back to the same Spec.
func (s Spec) String() string {
	var options []string
	target := encode(s.Path + s.Controller)
	if s.InMemory() {
		target = size.Format(s.Size)
	} else if s.Size != 0 {
		options = append(options, "size="+size.Format(s.Size))
	}
	if s.Block != 0 {
		options = append(options, "block="+strconv.Itoa(s.Block))
	}
	if s.Policy != nil {
		options = append(options, "policy="+s.Policy.String())
	}
	if s.Channels != 0 {
		options = append(options, "channels="+strconv.Itoa(s.Channels))
	}
	if s.Namespace != 0 {
		options = append(options, "ns="+strconv.FormatUint(uint64(s.Namespace), 10))
	}
	if s.Queues != 0 {
		options = append(options, "queues="+strconv.Itoa(s.Queues))
	}
	name := s.Scheme + ":" + target
	if len(options) > 0 {
		name += "?" + strings.Join(options, "&")
	}
	return name
}

// encode protects the characters that end a path or begin an escape.
func encode(path string) string {
	return strings.NewReplacer("%", "%25", "?", "%3F").Replace(path)
}

// decode undoes percent-encoding.
func decode(text string) (string, error) {
	if !strings.Contains(text, "%") {
		return text, nil
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			out = append(out, text[i])
			continue
		}
		if i+3 > len(text) {
			return "", errEscape(text[i:])
		}
		v, err := strconv.ParseUint(text[i+1:i+3], 16, 8)
		if err != nil {
			return "", errEscape(text[i : i+3])
		}
		out = append(out, byte(v))
		i += 2
	}
	return string(out), nil
}

func errEscape(text string) error {
	return fmt.Errorf("%q is no percent escape (write %%25 for a percent sign, %%3F for a question mark): %w", text, ErrName)
}
