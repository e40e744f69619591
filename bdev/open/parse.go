package open

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/mallocbdev"
	"github.com/blobkv/blobkv/bdev/nvmebdev"
	"github.com/blobkv/blobkv/internal/size"
	"github.com/blobkv/blobkv/nvme/connect"
)

// ErrName is returned for device names that cannot be understood.
var ErrName = errors.New("bad device name")

const (
	schemeMalloc = "malloc"
	schemeAIO    = "aio"
	schemeFile   = "file"
	schemeNVMe   = "nvme"
	schemeSim    = "nvme-sim"
)

// schemes are all there are, in the order error messages list them.
var schemes = []string{schemeMalloc, schemeAIO, schemeFile, schemeNVMe, schemeSim}

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
	if bare, _, _ := strings.Cut(name, "?"); isKnown(bare) {
		return s, fmt.Errorf("%q is a scheme without a size, path or address; write ./%s for a file of that name: %w",
			bare, name, ErrName)
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
	if s.InMemory() {
		return s, s.setMemorySize(target)
	}
	if s.Path, err = decode(target); err == nil && scheme == schemeNVMe {
		target := s.Path
		s.Path = ""
		return s, s.setController(target)
	}
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
	if !found || len(scheme) < 2 || !isScheme(scheme) && !isKnown(scheme) {
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

// InMemory tells whether the device is made in memory, of the size that the name gives, and gone when it is closed.
func (s Spec) InMemory() bool { return s.Scheme == schemeMalloc || s.Scheme == schemeSim }

// setController reads 0000:01:00.0, 0000:01:00.0/1 and vfio-user:/path/to/dir. What follows the slash of an address is the
// namespace.
func (s *Spec) setController(target string) error {
	name := target
	if address, id, found := strings.Cut(target, "/"); found && isAddress(address) {
		if s.Namespace != 0 {
			return fmt.Errorf("the namespace is given twice: %w", ErrName)
		}
		if err := s.setNamespace(id); err != nil {
			return err
		}
		name = address
	}
	t, err := connect.Parse(name)
	if err != nil {
		return fmt.Errorf("%w: %w", err, ErrName)
	}
	s.Controller = t.String()
	return nil
}

func isAddress(name string) bool {
	t, err := connect.Parse(name)
	return err == nil && t.PCI != ""
}

func (s *Spec) setNamespace(text string) error {
	const most = 1<<32 - 2 // the one above means all of them
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 || n > most {
		return fmt.Errorf("namespace %q, want a number from 1 to %d: %w", text, most, ErrName)
	}
	s.Namespace = uint32(n)
	return nil
}

// setMemorySize reads malloc:1GiB and malloc:?size=1GiB.
func (s *Spec) setMemorySize(target string) error {
	given := s.Size != 0
	if given && target != "" {
		return fmt.Errorf("the size is given twice: %w", ErrName)
	}
	if !given {
		if err := setSize(&s.Size, target); err != nil {
			return err
		}
	}
	return s.checkMemory()
}

// checkMemory looks whether the size and the blocks go together: of a device in memory the name says all.
func (s *Spec) checkMemory() error {
	var err error
	if s.Scheme == schemeSim {
		err = nvmebdev.SimConfig{Size: s.Size, BlockSize: s.Block}.Check()
	} else {
		err = mallocbdev.Config{Size: s.Size, BlockSize: s.Block}.Check()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", err, ErrName)
	}
	return nil
}

// optionKeys are all there are, in the order error messages list them.
const optionKeys = "size, block, policy, channels, ns, queues"

// misplaced tells whether an option means nothing for the scheme: the size and the blocks of a namespace are its own, and
// only a controller has namespaces and queues.
func (s *Spec) misplaced(key string) bool {
	switch key {
	case "size", "block":
		return s.Scheme == schemeNVMe
	case "ns":
		return s.Scheme != schemeNVMe
	case "queues":
		return s.Scheme != schemeNVMe && s.Scheme != schemeSim
	}
	return false
}

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
	if s.misplaced(key) {
		return fmt.Errorf("option %q means nothing for %s: %w", key, s.Scheme, ErrName)
	}
	switch key {
	case "ns":
		return s.setNamespace(value)
	case "queues":
		return setCount(&s.Queues, value, 1, 128, "queues")
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
		return setCount(&s.Channels, value, 1, 64, "channels")
	default:
		return fmt.Errorf("unknown option %q, known are %s: %w", key, optionKeys, ErrName)
	}
	return nil
}

func setCount(v *int, text string, least, most int, what string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return fmt.Errorf("%q %s, want %d to %d: %w", text, what, least, most, ErrName)
	}
	*v = n
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
