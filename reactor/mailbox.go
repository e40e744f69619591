package reactor

import (
	"sync"
	"sync/atomic"
)

// maxKeptMessages is the largest batch, in messages, whose memory is kept for the next one.
const maxKeptMessages = 4096

// mailbox is an unbounded queue of messages with many senders and one receiver. A message that a full queue refused
// could not be answered by a callback, which must not block, so the bound is left to the senders.
type mailbox struct {
	// pending mirrors len(queue), so that a pass without messages takes no lock.
	pending atomic.Int64

	mu     sync.Mutex
	queue  []func() // guarded by mu
	spare  []func() // guarded by mu; the memory of the batch before
	closed bool     // guarded by mu
}

// put adds a message; false means that the mailbox is closed and the message will never run.
func (m *mailbox) put(fn func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	m.queue = append(m.queue, fn)
	m.pending.Store(int64(len(m.queue)))
	return true
}

// take removes all messages. The receiver hands the slice back through recycle.
func (m *mailbox) take() []func() {
	if m.pending.Load() == 0 {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	batch := m.queue
	m.queue, m.spare = m.spare, nil
	m.pending.Store(0)
	return batch
}

// recycle keeps the memory of a batch for the next one, unless a burst made it large.
func (m *mailbox) recycle(batch []func()) {
	if cap(batch) > maxKeptMessages {
		return
	}
	clear(batch)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.spare = batch[:0]
}

// close makes put refuse from now on. Messages already accepted stay.
func (m *mailbox) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
}
