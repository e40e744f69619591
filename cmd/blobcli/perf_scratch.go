package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/blobkv/blobkv/bdev/open"
	"github.com/blobkv/blobkv/internal/size"
)

// scratchSize of a file that is measured in the place of an image, in bytes.
const scratchSize = 64 << 20

// useScratch puts a new file beside the image in the image's place. The file is made by the device that opens it; remove
// removes it.
func (c *cli) useScratch(f *perfFlags) (remove func() error, err error) {
	spec, err := open.Parse(c.device)
	if err != nil {
		return nil, err
	}
	info, statErr := os.Stat(spec.Path)
	switch {
	case spec.Path == "":
		return nil, usagef("--scratch: %s has no file to measure beside", c.device)
	case statErr == nil && !info.Mode().IsRegular():
		return nil, usagef("--scratch: %s is no image file, there is no room beside it; --force overwrites the device itself", spec.Path)
	}
	spec.Size = scratchSize
	if f.span != "" {
		if spec.Size, err = size.Parse(f.span); err != nil {
			return nil, usagef("--span: %w", err)
		}
	}
	spec.Path = fmt.Sprintf("%s.perf-%d", spec.Path, os.Getpid())
	if _, err := os.Lstat(spec.Path); err == nil {
		return nil, usagef("--scratch: %s is in the way", spec.Path)
	}
	c.device, f.prefill = spec.String(), true
	return func() error {
		if err := os.Remove(spec.Path); !errors.Is(err, fs.ErrNotExist) { // the device may not have come to make it
			return err
		}
		return nil
	}, nil
}
