package faultbdev

import (
	"slices"
	"sync"

	"github.com/blobkv/blobkv/bdev"
)

// Backend is a backend whose operations fail as its rules say. All methods may be called from any goroutine.
type Backend struct {
	*bdev.Relay
	blockSize int

	mu struct {
		sync.Mutex
		rules []*Injection // in order of injection
		gone  bool
	}
}

var _ bdev.Backend = (*Backend)(nil)

// New puts a backend without rules on top of another one, which it owns.
func New(lower bdev.Backend) *Backend {
	b := &Backend{blockSize: lower.Properties().BlockSize}
	b.Relay = bdev.NewRelay(lower, filter{b})
	return b
}

// Inject adds a rule, to be considered after those that are there.
func (b *Backend) Inject(r Rule) *Injection {
	i := &Injection{rule: r, backend: b, skip: r.Skip, left: r.Count}
	if i.left == 0 {
		i.left = 1
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.rules = append(b.mu.rules, i)
	return i
}

// Clear removes all rules and brings a device that is gone back.
func (b *Backend) Clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.rules, b.mu.gone = nil, false
}

func (b *Backend) remove(i *Injection) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.rules = slices.DeleteFunc(b.mu.rules, func(o *Injection) bool { return o == i })
}

// Resize fails once the device is gone.
func (b *Backend) Resize(size int64) error {
	if b.isGone() {
		return bdev.ErrGone
	}
	return b.Relay.Resize(size)
}

func (b *Backend) isGone() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.gone
}

// choose returns the rule whose fault happens to a request.
func (b *Backend) choose(r *bdev.Request) (rule Rule, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.gone {
		return Rule{Fault: Gone()}, true
	}
	for _, i := range b.mu.rules {
		if i.usedUp() || !i.rule.matches(r) {
			continue
		}
		if !i.take() {
			return Rule{}, false
		}
		b.mu.gone = i.rule.Fault.kind == kindGone
		return i.rule, true
	}
	return Rule{}, false
}

// filter hooks the rules into the relay. It is a type of its own to keep its methods out of Backend's.
type filter struct{ b *Backend }

func (f filter) Begin(lower *bdev.Request) bdev.Verdict {
	rule, ok := f.b.choose(lower)
	if !ok {
		return bdev.Verdict{}
	}
	return rule.Fault.begin(rule, lower, f.b.blockSize)
}

func (f filter) End(r *bdev.Request, v bdev.Verdict, err error) error {
	if err != nil {
		return err
	}
	switch t := v.Tag.(type) {
	case Fault:
		return t.err
	case Rule:
		t.flip(r)
	}
	return nil
}
