package vfiouser

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/spec"
	"github.com/blobkv/blobkv/nvme/vfiouser/wire"
)

// Client reaches the controller that a vfio-user server offers. It is an nvme.Transport.
type Client struct {
	name    string
	o       Options
	link    *link
	memory  *memoryTable
	shared  sharedWindows
	caps    wire.Capabilities // of the server
	bar     wire.RegionInfo
	windows []window
	vectors int
	fragile bool // the server can cut the file behind the windows short
	reset   bool // the server can reset the device
}

var (
	_ nvme.Transport = (*Client)(nil)
	_ nvme.Sleeper   = (*Client)(nil)
	_ nvme.Fragile   = (*Client)(nil)
	_ nvme.Aborter   = (*Client)(nil)
)

// Open connects to the controller of a folder that holds the socket "cntrl", or of the path to a socket, and readies it
// for DMA. ErrInUse when another client has it.
func Open(name string, o Options) (*Client, error) {
	o = o.withDefaults()
	fd, err := connect(o.Context, SocketPath(name), time.Now().Add(o.Timeout))
	if err != nil {
		return nil, err
	}
	return newClient(name, fd, o)
}

// newClient takes a connected socket over.
func newClient(name string, fd int, o Options) (*Client, error) {
	o = o.withDefaults()
	c := &Client{name: name, o: o, memory: newMemoryTable(), shared: sharedWindows{buffers: make(map[uint64]int)}}
	c.link = newLink(newSocket(fd), o.Timeout, c.memory.serve)
	defer nvme.AbortAfter(o.Context, c)()
	late := time.AfterFunc(o.Timeout, func() { c.Abort(fmt.Errorf("not said in %v what it offers: %w", o.Timeout, nvme.ErrTimeout)) })
	defer late.Stop()
	if err := c.setUp(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), c.Close())
	}
	return c, nil
}

// connect waits while the server's queue of connections is full, until the deadline or the end of the context.
func connect(ctx context.Context, path string, deadline time.Time) (int, error) {
	for {
		fd, err := dial(path)
		if err == nil {
			return fd, nil
		}
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		if !errors.Is(err, unix.EAGAIN) || !time.Now().Before(deadline) {
			return -1, fmt.Errorf("connecting to %s: %w", path, explain(path, err))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// explain says what it means that a connection was refused, and what to do.
func explain(path string, err error) error {
	const serve = "blobcli bdev export DEVICE --vfio-user FOLDER makes one"
	st, statErr := os.Stat(path)
	switch {
	case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("no server has its socket there, %s: %w", serve, fs.ErrNotExist)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: it takes the right to write to the socket and to search its folders", ErrPermission)
	case errors.Is(err, unix.ECONNREFUSED) && statErr == nil && st.Mode()&os.ModeSocket == 0:
		return fmt.Errorf("this is no socket of a server, %s: %w", serve, fs.ErrNotExist)
	case errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("no server listens, the socket was left behind; start the server again: %w", goneError(err))
	}
	return err
}

func (c *Client) setUp() error {
	for _, step := range []func() error{c.negotiate, c.describe, c.describeBAR, c.describeVectors, c.enable} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// negotiate exchanges versions and capabilities, which comes before everything else.
func (c *Client) negotiate() error {
	ours := wire.Version{Major: wire.Major, Minor: wire.Minor, Capabilities: wire.Capabilities{
		MaxFDs: wire.MaxFDs, MaxTransfer: wire.MaxTransfer, MaxMaps: maxMaps, PageSizes: uint64(pageSize),
	}}
	reply, err := c.link.call(wire.CmdVersion, &ours, nil)
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w: another client has the controller", ErrInUse)
	case err != nil:
		return err
	}
	v, err := wire.ParseVersion(reply.payload)
	if err != nil {
		return c.link.violation(err)
	}
	if v.Major != wire.Major || v.Minor > wire.Minor {
		return fmt.Errorf("the server speaks version %d.%d of the protocol, this is %d.%d: %w", v.Major, v.Minor, wire.Major, wire.Minor, nvme.ErrUnsupported)
	}
	c.caps = v.Capabilities
	return nil
}

// describe asks what the device is.
func (c *Client) describe() error {
	reply, err := c.link.call(wire.CmdDeviceInfo, &wire.DeviceInfo{}, nil)
	if err != nil {
		return err
	}
	d, err := wire.ParseDeviceInfo(reply.payload)
	if err != nil {
		return c.link.violation(err)
	}
	if d.Flags&wire.DevicePCI == 0 || d.Regions <= wire.RegionConfig {
		return fmt.Errorf("the server's device is no PCI device (flags %#x, %d regions): %w", d.Flags, d.Regions, nvme.ErrUnsupported)
	}
	c.reset = d.Flags&wire.DeviceReset != 0
	if d.IRQs <= wire.IRQMSIX {
		c.vectors = -1
	}
	return nil
}

// describeBAR asks for the registers and maps what can be mapped of them.
func (c *Client) describeBAR() error {
	reply, err := c.link.call(wire.CmdRegionInfo, regionInfoRequest(wire.RegionBAR0), nil)
	if err != nil {
		return err
	}
	defer reply.closeFDs()
	if c.bar, err = wire.ParseRegionInfo(reply.payload); err != nil {
		return c.link.violation(err)
	}
	if c.bar.Size < 4096 {
		return fmt.Errorf("BAR 0 of %d bytes is too small for an NVMe controller: %w", c.bar.Size, nvme.ErrUnsupported)
	}
	if c.bar.Flags&wire.RegionMmap == 0 || len(reply.fds) == 0 {
		return nil // registers and doorbells go through messages
	}
	c.windows, err = mapWindows(reply.fds[0], &c.bar)
	c.fragile = canShrink(reply.fds[0])
	return err
}

func (c *Client) describeVectors() error {
	if c.vectors < 0 {
		c.vectors = 0
		return nil
	}
	reply, err := c.link.call(wire.CmdIRQInfo, &wire.IRQInfo{Index: wire.IRQMSIX}, nil)
	if err != nil {
		return err
	}
	i, err := wire.ParseIRQInfo(reply.payload)
	if err != nil {
		return c.link.violation(err)
	}
	if i.Flags&wire.IRQEventfd != 0 {
		c.vectors = int(i.Count)
	}
	return nil
}

// Name is the name that Open was given.
func (c *Client) Name() string { return c.name }

// Load32 reads a register.
func (c *Client) Load32(offset uint32) (uint32, error) {
	var b [4]byte
	if err := c.read(wire.RegionBAR0, uint64(offset), b[:]); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b[:]), nil
}

// Load64 reads a register in one access.
func (c *Client) Load64(offset uint32) (uint64, error) {
	var b [8]byte
	if err := c.read(wire.RegionBAR0, uint64(offset), b[:]); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b[:]), nil
}

// Store32 writes a register. It always goes through the socket, also to a doorbell that is mapped.
func (c *Client) Store32(offset, value uint32) error {
	return c.write(wire.RegionBAR0, uint64(offset), binary.LittleEndian.AppendUint32(nil, value))
}

// Store64 writes a register in one access.
func (c *Client) Store64(offset uint32, value uint64) error {
	return c.write(wire.RegionBAR0, uint64(offset), binary.LittleEndian.AppendUint64(nil, value))
}

// Window returns part of BAR 0 as memory, nil where the server does not offer that.
func (c *Client) Window(offset uint32, size int) []byte {
	if size <= 0 || c.link.gone() != nil {
		return nil
	}
	for _, w := range c.windows {
		if b := w.part(uint64(offset), size); b != nil {
			return b
		}
	}
	return nil
}

// Fragile tells whether the server has kept the right to take the doorbells away: SPDK's target has, ours has not.
func (c *Client) Fragile() bool { return c.fragile }

// Sleeps tells whether the server may be asleep when a doorbell is rung: where doorbells are memory, and messages do not bring them.
func (c *Client) Sleeps() bool { return len(c.windows) > 0 }

// Wake sends a message that changes nothing, and that nobody answers. A doorbell must not be one: the server could see it after a later
// value that was stored to memory, and take the step back for a whole ring of commands.
func (c *Client) Wake() error {
	return c.link.post(wire.CmdRegionRead, &wire.RegionAccess{Region: wire.RegionBAR0, Offset: spec.RegVS, Count: 4})
}

// Abort ends the connection. Whoever waits for the server gets the cause.
func (c *Client) Abort(cause error) { c.link.fail(cause) }

// Vectors is how many MSI-X vectors there are.
func (c *Client) Vectors() int { return c.vectors }

// Interrupt makes the vector signal an eventfd; -1 ends it.
func (c *Client) Interrupt(vector, eventfd int) error {
	if vector < 0 || vector >= c.vectors {
		return fmt.Errorf("interrupt vector %d of %d: %w", vector, c.vectors, nvme.ErrUnsupported)
	}
	var fds []int
	if eventfd >= 0 {
		if err := c.enableMSIX(); err != nil {
			return err
		}
		fds = []int{eventfd}
	}
	set := wire.IRQSet{Flags: wire.IRQDataEventfd | wire.IRQTrigger, Index: wire.IRQMSIX, Start: uint32(vector), Count: 1}
	_, err := c.call(wire.CmdSetIRQs, &set, fds)
	return err
}

// Reset resets the function. The maps of memory stay.
func (c *Client) Reset() error {
	if !c.reset {
		return fmt.Errorf("reset: %w", nvme.ErrUnsupported)
	}
	if _, err := c.call(wire.CmdReset, nothing{}, nil); err != nil {
		return err
	}
	return c.enable()
}

// Close ends the connection, with which the server lets go of all memory, and releases everything. Memory and windows are gone
// afterwards.
func (c *Client) Close() error {
	err := errors.Join(c.unshareAll(), c.link.close())
	for _, w := range c.windows {
		err = errors.Join(err, unix.Munmap(w.bytes))
	}
	c.windows = nil
	return errors.Join(err, c.memory.close())
}

// call is one message and its answer, which has no descriptors.
func (c *Client) call(cmd wire.Command, payload appender, fds []int) (*message, error) {
	m, err := c.link.call(cmd, payload, fds)
	if err != nil {
		return nil, err
	}
	m.closeFDs() // none belongs to these replies
	return m, nil
}

// read reads a region.
func (c *Client) read(region uint32, offset uint64, b []byte) error {
	reply, err := c.call(wire.CmdRegionRead, &wire.RegionAccess{Region: region, Offset: offset, Count: uint32(len(b))}, nil)
	if err != nil {
		return err
	}
	a, err := wire.ParseRegionAccess(reply.payload, true)
	if err != nil {
		return c.link.violation(err)
	}
	if len(a.Data) != len(b) {
		return c.link.violation(fmt.Errorf("%w: read of %d bytes answered with %d", wire.ErrFormat, len(b), len(a.Data)))
	}
	copy(b, a.Data)
	return nil
}

// write writes a region.
func (c *Client) write(region uint32, offset uint64, b []byte) error {
	_, err := c.call(wire.CmdRegionWrite, &wire.RegionAccess{Region: region, Offset: offset, Count: uint32(len(b)), Data: b}, nil)
	return err
}

// nothing is the payload of a message without one.
type nothing struct{}

func (nothing) Append(b []byte) []byte { return b }

// regionInfoRequest asks for a region.
type regionInfoRequest uint32

func (r regionInfoRequest) Append(b []byte) []byte { return wire.AppendRegionInfoRequest(b, uint32(r)) }
