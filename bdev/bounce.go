package bdev

import (
	"sync"

	"github.com/blobkv/blobkv/internal/dmabuf"
	"github.com/blobkv/blobkv/internal/memfault"
)

// Bounce buffers of the shared channels come from one pool for all devices, so whoever waits for one may wait for any
// channel of any of them. Pieces of attended requests hold buffers on channels that nobody may be polling: their
// submitter does that later, and may itself be waiting here.

// channels are the shared channels of all open devices.
var channels struct {
	sync.Mutex
	open map[*shared]struct{}
}

// addChannels and removeChannels keep the list. After removeChannels nobody arms a poller of the device any more.
func addChannels(list []*shared) {
	channels.Lock()
	defer channels.Unlock()
	if channels.open == nil {
		channels.open = make(map[*shared]struct{})
	}
	for _, c := range list {
		channels.open[c] = struct{}{}
	}
}

func removeChannels(list []*shared) {
	channels.Lock()
	defer channels.Unlock()
	for _, c := range list {
		delete(channels.open, c)
	}
}

// deviceMemory takes n bytes from the pool of all devices; dmabuf.Default.Put gives them back. While it waits, every
// channel on which pieces hold such memory is polled. Pieces that get some later need no look: their submitters go on to
// poll for them, or come here.
func deviceMemory(n int) []byte {
	if b, ok := dmabuf.Default.TryGet(n); ok {
		return b
	}
	polled := pollHolders()
	defer func() {
		for _, c := range polled {
			c.async.Add(-1)
		}
	}()
	return dmabuf.Default.Get(n)
}

// pollHolders has every channel with bounced pieces polled until its count in async is taken back.
func pollHolders() (polled []*shared) {
	channels.Lock()
	defer channels.Unlock()
	for c := range channels.open {
		if c.bounced.Load() > 0 {
			c.async.Add(1)
			c.arm()
			polled = append(polled, c)
		}
	}
	return polled
}

// bounce puts device memory of a pool under a piece. Its error is that of the caller's memory.
func (p *Request) bounce(b []byte, pool *dmabuf.Pool) error {
	p.user, p.Buf, p.pool = p.Buf, b[:len(p.Buf)], pool
	if p.ch != nil {
		p.ch.bounced.Add(1)
	}
	if p.Op == OpRead {
		return nil
	}
	return memfault.Copy(p.Buf, p.user)
}

// unbounce moves what was read to the caller and frees the device memory. It returns the piece's error, or that of the caller's memory.
func (p *Request) unbounce(err error) error {
	if p.user == nil {
		return err
	}
	if err == nil && p.Op == OpRead {
		err = memfault.Copy(p.user, p.Buf)
	}
	if p.ch != nil {
		p.ch.bounced.Add(-1)
	}
	p.pool.Put(p.Buf)
	p.Buf, p.user, p.pool = p.user, nil, nil
	return err
}
