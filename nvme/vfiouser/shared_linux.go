package vfiouser

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/internal/dmabuf"
	"github.com/blobkv/blobkv/nvme"
)

// sharedBase is the address of the file of shareable memory for the server, above all addresses of a process.
const sharedBase = 1 << 48

// sharedWindows is what the server has of the file of shareable memory. It is told of windows, not of buffers: servers take few maps
// (SPDK's nvmf_tgt 64) and pools have many buffers. It gives nothing away: with a descriptor of the file comes all of it.
type sharedWindows struct {
	mu      sync.Mutex
	buffers map[uint64]int // that are mapped, by the address of their window
}

// Map lets the server reach memory of the caller, which has to come from shareable memory of package dmabuf.
func (c *Client) Map(b []byte) (uint64, error) {
	if len(b) == 0 || (addressOf(b)|uint64(len(b)))%pageSize != 0 {
		return 0, fmt.Errorf("mapping %d bytes at %#x, which is not whole pages: %w", len(b), addressOf(b), nvme.ErrNotShareable)
	}
	fd, offset, ok := dmabuf.Backing(b)
	if !ok {
		return 0, fmt.Errorf("mapping %d bytes that no descriptor stands for: %w", len(b), nvme.ErrNotShareable)
	}
	iova := sharedBase + uint64(offset)
	if err := c.memory.add(iova, region{b, false}); err != nil {
		return 0, err
	}
	if err := c.enterWindow(fd, iova); err != nil {
		c.memory.remove(iova)
		return 0, err
	}
	return iova, nil
}

// Unmap ends what Map began.
func (c *Client) Unmap(b []byte) error {
	_, offset, ok := dmabuf.Backing(b)
	iova := sharedBase + uint64(offset)
	r, found := c.memory.find(iova)
	if !ok || !found || len(r.bytes) != len(b) {
		return fmt.Errorf("unmapping %d bytes at %#x, which are not mapped: %w", len(b), addressOf(b), unix.EINVAL)
	}
	return c.unshare(iova, r)
}

// windowOf is the address of the window that an address is in.
func windowOf(iova uint64) uint64 { return iova &^ (dmabuf.ShareWindow - 1) }

// enterWindow maps the window of a buffer with the first one.
func (c *Client) enterWindow(fd int, iova uint64) error {
	w := windowOf(iova)
	c.shared.mu.Lock()
	defer c.shared.mu.Unlock()
	if c.shared.buffers[w] == 0 {
		if err := c.beginMap(fd, w-sharedBase, w, dmabuf.ShareWindow); err != nil {
			return err
		}
	}
	c.shared.buffers[w]++
	return nil
}

// leaveWindow unmaps the window of a buffer with the last one, unless the server refuses to let go of it.
func (c *Client) leaveWindow(iova uint64) error {
	w := windowOf(iova)
	c.shared.mu.Lock()
	defer c.shared.mu.Unlock()
	if c.shared.buffers[w] == 1 {
		if err := c.endMap(w, dmabuf.ShareWindow); err != nil && !errors.Is(err, nvme.ErrGone) {
			return err
		}
		delete(c.shared.buffers, w)
		return nil
	}
	c.shared.buffers[w]--
	return nil
}
