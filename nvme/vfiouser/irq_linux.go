package vfiouser

import (
	"encoding/binary"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/nvme/vfiouser/wire"
)

func (ss *session) irqInfo(payload []byte, r *reply) error {
	i, err := wire.ParseIRQInfo(payload)
	if err != nil {
		return err
	}
	if i.Index >= wire.NumIRQs {
		return fmt.Errorf("interrupts of kind %d: %w", i.Index, unix.EINVAL)
	}
	i.Flags, i.Count = wire.IRQEventfd, 0
	if i.Index == wire.IRQMSIX {
		i.Count = uint32(len(ss.vectors))
	}
	r.b = i.Append(r.b)
	return nil
}

// setIRQs connects MSI-X vectors to eventfds, disconnects or triggers them. Masking is left to the client, who has the eventfds.
func (ss *session) setIRQs(m *message) error {
	set, err := wire.ParseIRQSet(m.payload)
	if err != nil {
		return err
	}
	count := uint32(0)
	if set.Index == wire.IRQMSIX {
		count = uint32(len(ss.vectors))
	}
	switch {
	case set.Index >= wire.NumIRQs || set.Start > count || set.Count > count-set.Start:
		return fmt.Errorf("interrupts %d from %d of kind %d, which has %d: %w", set.Count, set.Start, set.Index, count, unix.EINVAL)
	case set.Action() != wire.IRQTrigger:
		return nil
	case set.Data() == wire.IRQDataEventfd:
		return ss.connectVectors(set, m)
	}
	if set.Count == 0 {
		for v := range ss.vectors[:count] {
			ss.setVector(v, -1)
		}
	}
	for i := range set.Count {
		if set.Data() == wire.IRQDataNone || set.Bools[i] != 0 {
			ss.interrupt(int(set.Start + i))
		}
	}
	return nil
}

// connectVectors takes the descriptors of the message; none disconnects.
func (ss *session) connectVectors(set wire.IRQSet, m *message) error {
	if len(m.fds) != 0 && len(m.fds) != int(set.Count) {
		return fmt.Errorf("%d eventfds for %d interrupts: %w", len(m.fds), set.Count, unix.EINVAL)
	}
	for _, fd := range m.fds {
		if !isEventfd(fd) {
			return fmt.Errorf("a descriptor that is no eventfd: %w", unix.EINVAL)
		}
	}
	for i := range set.Count {
		ss.setVector(int(set.Start+i), m.take())
	}
	return nil
}

func (ss *session) setVector(v, fd int) {
	if ss.vectors[v] >= 0 {
		_ = unix.Close(ss.vectors[v]) // the client's eventfd; nothing is pending in it
	}
	ss.vectors[v] = fd
}

// isEventfd keeps descriptors out that a write could block on, or change.
func isEventfd(fd int) bool {
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	return err == nil && name == "anon_inode:[eventfd]"
}

// interrupt signals a vector, if the client has connected it.
func (ss *session) interrupt(v int) {
	if v < 0 || v >= len(ss.vectors) || ss.vectors[v] < 0 {
		return
	}
	if err := signalEvent(ss.vectors[v]); err != nil && ss.fault == nil {
		ss.fault = fmt.Errorf("interrupt %d: %w", v, err)
	}
}

// signalEvent adds 1 to an eventfd. One that is full is signalled already; writing to it would block.
func signalEvent(fd int) error {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	if n, err := unix.Poll(fds[:], 0); err == nil && n == 0 {
		return nil
	}
	var one [8]byte
	binary.LittleEndian.PutUint64(one[:], 1)
	if _, err := unix.Write(fd, one[:]); err != nil && err != unix.EAGAIN {
		return err
	}
	return nil
}
