package open

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/internal/size"
)

// ErrName is returned for device names that cannot be understood.
var ErrName = errors.New("bad device name")

const (
	schemeMalloc = "malloc"
	schemeAIO    = "aio"
	schemeFile   = "file"
)

// schemes are all there are, in the order error messages list them.
var schemes = []string{schemeMalloc, schemeAIO, schemeFile}

// Parse reads a device name. It looks at the text alone, not at the system.
func Parse(name string) (Spec, error) {
	s, err := parse(name)
	if err != nil {
		return Spec{}, fmt.Errorf("device %q: %w", name, err)
	}
	return s, nil
}

func parse(name string) (s Spec, err error) {
	if strings.ContainsRune(name, 0) {
		return s, fmt.Errorf("it contains a NUL byte: %w", ErrName)
	}
	scheme, rest := cutScheme(name)
	s.Scheme = scheme
	if !isKnown(scheme) {
		return s, fmt.Errorf("unknown scheme %q, known are %s; write ./%s for a file of that name: %w",
			scheme, strings.Join(schemes, ", "), name, ErrName)
	}
	target, options, _ := strings.Cut(rest, "?")
	if err := s.setOptions(options); err != nil {
		return s, err
	}
	if scheme == schemeMalloc {
		return s, s.setMallocSize(target)
	}
	s.Path, err = decode(target)
	switch {
	case err != nil:
		return s, err
	case s.Path == "":
		return s, fmt.Errorf("no path: %w", ErrName)
	case strings.ContainsRune(s.Path, 0):
		return s, fmt.Errorf("the path contains a NUL byte: %w", ErrName)
	}
	return s, nil
}

// cutScheme splits a name. Without a scheme (letters and digits before a colon, two characters at least) it is a path.
func cutScheme(name string) (scheme, rest string) {
	scheme, rest, found := strings.Cut(name, ":")
	if !found || len(scheme) < 2 || !isScheme(scheme) {
		return defaultScheme, name
	}
	return scheme, rest
}

func isScheme(s string) bool {
	for i, c := range s {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return true
}

func isKnown(scheme string) bool {
	for _, s := range schemes {
		if s == scheme {
			return true
		}
	}
	return false
}

// setMallocSize reads malloc:1GiB and malloc:?size=1GiB.
func (s *Spec) setMallocSize(target string) error {
	if target == "" && s.Size != 0 {
		return nil
	}
	if s.Size != 0 {
		return fmt.Errorf("the size is given twice: %w", ErrName)
	}
	return setSize(&s.Size, target)
}

// optionKeys are all there are, in the order error messages list them.
const optionKeys = "size, block, policy, channels"

func (s *Spec) setOptions(text string) error {
	if text == "" {
		return nil
	}
	seen := map[string]bool{}
	for _, option := range strings.Split(text, "&") {
		key, value, _ := strings.Cut(option, "=")
		if seen[key] {
			return fmt.Errorf("option %q is given twice: %w", key, ErrName)
		}
		seen[key] = true
		if err := s.setOption(key, value); err != nil {
			return err
		}
	}
	return nil
}

func (s *Spec) setOption(key, value string) error {
	switch key {
	case "size":
		return setSize(&s.Size, value)
	case "block":
		return s.setBlock(value)
	case "policy":
		p, err := bdev.ParsePolicy(value)
		if err != nil {
			return fmt.Errorf("%w: %w", err, ErrName)
		}
		s.Policy = &p
	case "channels":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > 64 {
			return fmt.Errorf("%q channels, want 1 to 64: %w", value, ErrName)
		}
		s.Channels = n
	default:
		return fmt.Errorf("unknown option %q, known are %s: %w", key, optionKeys, ErrName)
	}
	return nil
}

func setSize(v *int64, text string) error {
	n, err := size.Parse(text)
	switch {
	case err != nil:
		return fmt.Errorf("size %w: %w", err, ErrName)
	case n == 0:
		return fmt.Errorf("size 0: %w", ErrName)
	}
	*v = n
	return nil
}

func (s *Spec) setBlock(text string) error {
	n, err := size.Parse(text)
	if err != nil || n < 512 || n > 64<<10 || n&(n-1) != 0 {
		return fmt.Errorf("block size %q, want a power of two from 512 to 64k: %w", text, ErrName)
	}
	s.Block = int(n)
	return nil
}
