package nvmetest

import (
	"bytes"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/spec"
)

// refusals are mistakes of the caller and errors of the controller; the queue works on after each.
func refusals(r *rig) {
	for _, b := range r.blocks() {
		q := r.request(nvme.OpRead, b, b.Blocks-1, 2)
		require.ErrorIs(r, r.do(q), nvme.ErrOutOfRange)
		q = r.request(nvme.OpRead, b, 0, 1)
		q.Buf = make([]byte, len(q.Buf))
		require.ErrorIs(r, r.do(q), nvme.ErrNotMapped)
		err := r.do(nvme.Request{Op: nvme.OpRaw, NS: b.Namespace, Raw: spec.Command{Opcode: 0x7f, NSID: b.NamespaceInfo.ID}})
		var status *nvme.StatusError
		require.ErrorAs(r, err, &status)
		require.Equal(r, spec.StatusInvalidOpcode, status.Status.Code())
		q = r.request(nvme.OpWrite, b, 0, 1)
		require.NoError(r, r.do(q))
	}
	_, err := r.c.Admin(spec.Command{Opcode: 0xff}, nil)
	var status *nvme.StatusError
	require.ErrorAs(r, err, &status)
	_, err = r.c.Namespace(4711)
	require.ErrorIs(r, err, nvme.ErrNoNamespace)
}

// callerMemory reads into memory that the driver did not allocate.
func callerMemory(r *rig) {
	if r.env.Pages == nil {
		r.Skip("no memory of the caller's")
	}
	for _, b := range r.blocks() {
		if b.MetaSize > 0 {
			continue
		}
		pages := r.env.Pages(r.T)
		n := len(pages) / b.BlockSize
		w := r.request(nvme.OpWrite, b, 32, n)
		require.NoError(r, r.do(w))
		got := nvme.Request{Op: nvme.OpRead, NS: b.Namespace, LBA: 32, Buf: pages[:n*b.BlockSize]}
		require.ErrorIs(r, r.do(got), nvme.ErrNotMapped)
		require.NoError(r, r.c.Register(pages))
		require.NoError(r, r.do(got))
		require.True(r, bytes.Equal(w.Buf, got.Buf))
		require.NoError(r, r.c.Unregister(pages))
		require.ErrorIs(r, r.do(got), nvme.ErrNotMapped)
	}
}

// eventFD waits for a completion by interrupt.
func eventFD(r *rig) {
	list := r.blocks()
	if r.env.Eventfd == nil || len(list) == 0 {
		r.Skip("no interrupts, or zoned namespaces only")
	}
	require.NoError(r, r.q.Close())
	fd := r.env.Eventfd(r.T)
	var err error
	r.q, err = r.c.OpenQueue(nvme.QueueOptions{EventFD: fd})
	require.NoError(r, err)
	for i := range 5 {
		q := r.request(nvme.OpWrite, list[0], uint64(i), 1)
		require.Equal(r, 1, r.q.Submit([]*nvme.Request{&q}))
		require.True(r, r.env.Signalled(r.T, fd, true), "write %d signalled nothing", i)
		done := make([]*nvme.Request, 1)
		require.Equal(r, 1, r.q.Poll(done))
		require.NoError(r, done[0].Err)
	}
}

// writeCache turns it off and on.
func writeCache(r *rig) {
	if r.env.NoCache || len(r.c.Namespaces()) == 0 {
		r.Skip("no volatile write cache")
	}
	ns := r.c.Namespaces()[0]
	for _, on := range []bool{false, true} {
		require.NoError(r, r.c.SetWriteCache(on))
		require.Equal(r, on, ns.Info().WriteCache)
	}
}

// resetUnderLoad resets the controller while two queues are busy: every request comes back, and carried out.
func resetUnderLoad(r *rig) {
	list := r.blocks()
	if r.env.Fragile {
		list = slices.DeleteFunc(list, func(b block) bool { return b.MetaSize > 0 })
	}
	if len(list) == 0 {
		r.Skip("zoned namespaces only, or metadata and a fragile controller")
	}
	queues := []*nvme.Queue{r.q}
	if r.c.MaxQueues() > 1 {
		q, err := r.c.OpenQueue(nvme.QueueOptions{})
		require.NoError(r, err)
		queues = append(queues, q)
	}
	var all sync.WaitGroup
	r.off = 0
	for i, q := range queues {
		l := newLoad(r, list[0], q, uint64(i*1000), 32)
		all.Go(func() { l.run(100) })
	}
	for range 3 {
		require.NoError(r, r.c.Reset())
	}
	all.Wait()
	require.GreaterOrEqual(r, r.c.Resets(), uint64(3))
	require.NoError(r, r.c.Poll())
}

// shutdown closes the driver and opens it again: what was written is there.
func shutdown(r *rig) {
	list := r.blocks()
	if len(list) == 0 {
		r.Skip("zoned namespaces only")
	}
	w := r.request(nvme.OpWrite, list[0], 500, 4)
	want := bytes.Clone(w.Buf)
	require.NoError(r, r.do(w))
	require.NoError(r, r.c.Close())
	require.ErrorIs(r, r.c.Poll(), nvme.ErrGone)
	r.open()
	b := r.blocks()[0]
	got := r.request(nvme.OpRead, b, 500, 4)
	got.PI = nvme.Protect{} // the software controller keeps no metadata
	require.NoError(r, r.do(got))
	for at := 0; at < len(want); at += b.unit() {
		require.True(r, bytes.Equal(want[at:at+b.BlockSize], got.Buf[at:at+b.BlockSize]))
	}
}

// attach attaches and detaches, at run time, a namespace that is detached at first.
func attach(r *rig) {
	nsid := uint32(0)
	for i, n := range r.env.Namespaces {
		if n.Detached {
			nsid = uint32(i + 1)
		}
	}
	if nsid == 0 {
		r.Skip("no namespace is detached")
	}
	all, err := r.c.ListNamespaces(true)
	require.NoError(r, err)
	require.Contains(r, all, nsid)
	for range 2 {
		require.NoError(r, r.c.AttachNamespace(nsid, true))
		r.wait(nvme.EventNamespaceAttached, nsid)
		ns, err := r.c.Namespace(nsid)
		require.NoError(r, err)
		b := block{ns, ns.Info()}
		require.NoError(r, r.do(r.request(nvme.OpWrite, b, 9, 1)))
		require.NoError(r, r.c.AttachNamespace(nsid, false))
		r.wait(nvme.EventNamespaceDetached, nsid)
		require.ErrorIs(r, r.do(nvme.Request{Op: nvme.OpRead, NS: ns, Buf: r.buffer(b.BlockSize)}), nvme.ErrNoNamespace)
	}
}

// zones takes a zone through its states.
func zones(r *rig) {
	tried := false
	for _, n := range r.c.Namespaces() {
		info := n.Info()
		if info.ZoneBlocks == 0 {
			continue
		}
		tried = true
		z := zoned{r, n, info}
		z.send(spec.ZoneReset|spec.ZoneSelectAll, 0)
		start := info.ZoneBlocks // the second zone
		zone := z.report(start)
		require.Equal(r, spec.ZoneEmpty, zone.State)
		require.Equal(r, start, zone.Start)
		z.write(start, 4)
		require.Error(r, r.do(nvme.Request{Op: nvme.OpWrite, NS: n, LBA: start, Buf: r.random(info.BlockSize)}), "not at the write pointer")
		require.Equal(r, start+4, z.report(start).WritePointer)
		if info.Ops.Has(nvme.OpZoneAppend) {
			q := nvme.Request{Op: nvme.OpZoneAppend, NS: n, LBA: start, Buf: r.random(2 * info.BlockSize)}
			require.NoError(r, r.q.Do(&q))
			require.Equal(r, start+4, q.Result)
			got := nvme.Request{Op: nvme.OpRead, NS: n, LBA: q.Result, Buf: r.buffer(2 * info.BlockSize)}
			require.NoError(r, r.do(got))
			require.True(r, bytes.Equal(q.Buf, got.Buf))
		}
		for _, step := range []struct {
			action uint32
			want   spec.ZoneState
		}{{spec.ZoneClose, spec.ZoneClosed}, {spec.ZoneOpen, spec.ZoneExplicitlyOpen}, {spec.ZoneFinish, spec.ZoneFull}} {
			z.send(step.action, start)
			require.Equal(r, step.want, z.report(start).State)
		}
		err := r.do(nvme.Request{Op: nvme.OpWrite, NS: n, LBA: start + zone.Capacity - 1, Buf: r.random(info.BlockSize)})
		require.ErrorIs(r, err, nvme.ErrZone)
		z.send(spec.ZoneReset, start)
		require.Equal(r, spec.ZoneEmpty, z.report(start).State)
	}
	if !tried {
		r.Skip("no namespace is zoned")
	}
}

// zoned is a zoned namespace.
type zoned struct {
	*rig
	ns   *nvme.Namespace
	info *nvme.NamespaceInfo
}

func (z zoned) send(action uint32, lba uint64) {
	z.Helper()
	require.NoError(z, z.do(nvme.Request{Op: nvme.OpZoneSend, NS: z.ns, LBA: lba, Arg: action}))
}

func (z zoned) write(lba uint64, blocks int) {
	z.Helper()
	require.NoError(z, z.do(nvme.Request{Op: nvme.OpWrite, NS: z.ns, LBA: lba, Buf: z.random(blocks * z.info.BlockSize)}))
}

// report reads the descriptor of the zone that starts at lba.
func (z zoned) report(lba uint64) (zone spec.Zone) {
	z.Helper()
	b := z.buffer(4096)
	require.NoError(z, z.do(nvme.Request{Op: nvme.OpZoneReceive, NS: z.ns, LBA: lba, Arg: spec.ZoneReport | spec.ZonePartial, Buf: b}))
	n, err := spec.ZoneReportCount(b)
	require.NoError(z, err)
	require.Positive(z, n)
	require.NoError(z, zone.Unmarshal(b[spec.ZoneHeaderSize:]))
	return zone
}

// Removal keeps the driver busy, has the controller taken away by take, and wants every request back and ErrGone.
func Removal(t *testing.T, env DriverEnv, take func()) {
	r := newRig(t, env)
	list := r.blocks()
	require.NotEmpty(r, list)
	var reqs []*nvme.Request
	for i := range 16 {
		q := r.request(nvme.OpWrite, list[0], uint64(i), 1)
		reqs = append(reqs, &q)
	}
	done := make([]*nvme.Request, len(reqs))
	ready, taken, outstanding, failed := reqs, false, 0, 0
	for end := time.Now().Add(2 * doneTime); failed < len(reqs); {
		n := r.q.Submit(ready)
		ready = ready[n:]
		outstanding += n
		for _, q := range done[:r.q.Poll(done)] {
			outstanding--
			if q.Err == nil {
				ready = append(ready, q)
				continue
			}
			require.ErrorIs(r, q.Err, nvme.ErrGone)
			failed++
		}
		if !taken && r.q.Stats().Completions > 200 {
			taken = true
			take()
		}
		if err := r.c.Poll(); err != nil {
			require.ErrorIs(r, err, nvme.ErrGone)
		}
		require.True(r, time.Now().Before(end), "%d outstanding, %d failed, %d ready", outstanding, failed, len(ready))
	}
	require.ErrorIs(r, r.c.Poll(), nvme.ErrGone)
	require.ErrorIs(r, r.c.Reset(), nvme.ErrGone)
}
