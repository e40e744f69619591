package nvmetest

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme"
)

// DriverEnv is what the driver's tests need.
type DriverEnv struct {
	Env
	Controller
}

// driverTests are all of them. Each opens the controller anew and closes it.
var driverTests = []struct {
	name string
	test func(r *rig)
}{
	{"Identify", identifies}, {"Logs", logs}, {"ReadWrite", readWrite}, {"Queues", allQueues}, {"Commands", commands},
	{"Protection", protection}, {"Refusals", refusals}, {"CallerMemory", callerMemory}, {"EventFD", eventFD},
	{"WriteCache", writeCache}, {"Reset", resetUnderLoad}, {"Shutdown", shutdown}, {"Attach", attach}, {"Zones", zones},
}

// Driver runs the driver's tests on a controller. What is on it is lost.
func Driver(t *testing.T, env DriverEnv) {
	for _, c := range driverTests {
		t.Run(c.name, func(t *testing.T) { c.test(newRig(t, env)) })
	}
}

// bufferBytes is the registered memory of a rig.
const bufferBytes = 8 << 20

// doneTime bounds the wait for requests of a rig; a slow machine under a slow emulator finishes within.
const doneTime = 60 * time.Second

// rig is an open driver.
type rig struct {
	*testing.T
	env DriverEnv
	c   *nvme.Controller
	q   *nvme.Queue
	rng *rand.Rand
	mem []byte
	off int // used of mem

	mu struct {
		sync.Mutex
		events []nvme.Event
	}
}

func newRig(t *testing.T, env DriverEnv) *rig {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := &rig{T: t, env: env, rng: rand.New(rand.NewPCG(seed, 0))}
	r.open()
	t.Cleanup(func() {
		require.LessOrEqual(t, r.c.MemoryUsed(), int64(4<<20))
		require.NoError(t, r.c.Close())
	})
	return r
}

// open opens the driver with one queue.
func (r *rig) open() {
	r.Helper()
	var err error
	r.c, err = nvme.Open(r.env.Open(r.T), nvme.Options{Queues: r.env.Queues, OnEvent: r.event})
	require.NoError(r, err)
	r.q, err = r.c.OpenQueue(nvme.QueueOptions{})
	require.NoError(r, err)
	r.mem, err = r.c.Alloc(bufferBytes)
	require.NoError(r, err)
	r.off = 0
}

func (r *rig) event(e nvme.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.events = append(r.mu.events, e)
}

// wait polls the controller until an event of a kind came.
func (r *rig) wait(kind nvme.EventKind, nsid uint32) {
	r.Helper()
	for end := time.Now().Add(doneTime); ; {
		require.NoError(r, r.c.Poll())
		r.mu.Lock()
		for _, e := range r.mu.events {
			if e.Kind == kind && e.NSID == nsid {
				r.mu.events = nil
				r.mu.Unlock()
				return
			}
		}
		r.mu.Unlock()
		require.True(r, time.Now().Before(end), "no event %v of namespace %d", kind, nsid)
	}
}

// buffer takes n bytes of the registered memory, which is used again once all of it was.
func (r *rig) buffer(n int) []byte {
	if r.off+n > len(r.mem) {
		r.off = 0
	}
	b := r.mem[r.off : r.off+n : r.off+n]
	r.off += (n + 3) &^ 3
	return b
}

func (r *rig) random(n int) []byte {
	b := r.buffer(n)
	fill(b, r.rng)
	return b
}

func fill(b []byte, rng *rand.Rand) {
	for i := 0; i < len(b); i += 8 {
		v := rng.Uint64()
		for j := i; j < min(i+8, len(b)); j++ {
			b[j] = byte(v)
			v >>= 8
		}
	}
}

// do runs one request on the rig's queue.
func (r *rig) do(q nvme.Request) error { return r.q.Do(&q) }

// block is a namespace that takes ordinary reads and writes.
type block struct {
	*nvme.Namespace
	*nvme.NamespaceInfo
}

// unit is the bytes of a block in Request.Buf.
func (b block) unit() int {
	if b.Extended {
		return b.BlockSize + b.MetaSize
	}
	return b.BlockSize
}

// blocks are the namespaces that are no zoned ones.
func (r *rig) blocks() (list []block) {
	for _, n := range r.c.Namespaces() {
		if info := n.Info(); info.ZoneBlocks == 0 {
			list = append(list, block{n, info})
		}
	}
	return list
}

// request makes a read or write of n blocks at lba, with what metadata the namespace has; its protection information is
// made and checked as far as the type does.
func (r *rig) request(op nvme.Op, b block, lba uint64, n int) nvme.Request {
	q := nvme.Request{Op: op, NS: b.Namespace, LBA: lba, Buf: r.random(n * b.unit())}
	if b.MetaSize > 0 && !b.Extended {
		q.Meta = r.random(n * b.MetaSize)
	}
	if b.Protection > 0 {
		q.PI = protect(b, lba)
		if op != nvme.OpRead {
			require.NoError(r, b.InsertProtection(q.Buf, q.Meta, q.PI))
		}
	}
	return q
}
