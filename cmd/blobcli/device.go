package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/open"
	"github.com/blobkv/blobkv/blobfs"
	"github.com/blobkv/blobkv/blobstore"
)

// openDevice opens the device of --device, unless the user interrupts.
func (c *cli) openDevice(o open.Options) (*bdev.Device, error) {
	if c.device == "" {
		return nil, usagef("which device? pass -d, for example -d aio:/tmp/store.img")
	}
	o.Context = c.ctx
	return open.Device(c.device, o)
}

// isRAM says whether a device name makes a new device in memory each time.
func isRAM(name string) bool {
	spec, err := open.Parse(name)
	return err == nil && spec.InMemory()
}

// withDevice runs f on the device and closes it; the first error counts, close errors too.
func (c *cli) withDevice(o open.Options, f func(*bdev.Device) error) error {
	dev, err := c.openDevice(o)
	if err != nil {
		return err
	}
	return errors.Join(f(dev), dev.Close())
}

// withNewDevice is withDevice on a device that is made if there is none, and removed again if f fails.
func (c *cli) withNewDevice(f func(*bdev.Device) error) error {
	dev, err := c.openDevice(open.Options{Create: true})
	if err != nil {
		return err
	}
	if err := f(dev); err != nil {
		return errors.Join(err, open.Discard(dev))
	}
	return dev.Close()
}

// withStore runs f on the store, opened for reading: nothing on the device changes.
func (c *cli) withStore(f func(*blobstore.Store) error) error {
	return c.withDevice(open.Options{ReadOnly: true}, func(dev *bdev.Device) error {
		line := c.progressLine()
		s, err := blobstore.Open(dev, blobstore.OpenOptions{ReadOnly: true, Progress: line.percent("reading metadata")})
		line.clear()
		if err != nil {
			return err
		}
		return errors.Join(f(s), s.Close())
	})
}

// withFS runs f on the file system, opened for writing if writable.
func (c *cli) withFS(writable bool, f func(*blobfs.FS) error) error {
	return c.withDevice(open.Options{ReadOnly: !writable}, func(dev *bdev.Device) error {
		line := c.progressLine()
		fs, err := blobfs.Open(dev, blobfs.Options{ReadOnly: !writable, Progress: line.percent("reading metadata")})
		line.clear()
		if err != nil {
			return err
		}
		return errors.Join(f(fs), fs.Close())
	})
}

// progress is one line on the terminal that is overwritten; on anything else it prints nothing.
type progress struct {
	out   *os.File
	last  time.Time
	shown bool
}

func (c *cli) progressLine() *progress {
	if f, ok := c.stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &progress{out: f, last: time.Now()}
	}
	return &progress{}
}

// show replaces the line, at most five times a second.
func (p *progress) show(format string, args ...any) {
	if p.out == nil || time.Since(p.last) < 200*time.Millisecond {
		return
	}
	p.last, p.shown = time.Now(), true
	fmt.Fprintf(p.out, "\r\x1b[K"+format, args...)
}

// percent is a progress function for work with a known total.
func (p *progress) percent(what string) func(done, total int64) {
	return func(done, total int64) {
		if total > 0 {
			p.show("%s %d %%", what, done*100/total)
		}
	}
}

func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.shown = false
	}
}
