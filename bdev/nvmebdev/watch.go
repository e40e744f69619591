package nvmebdev

import (
	"fmt"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/reactor"
)

// watcher is the reactor that looks after a controller: events, timeouts, keep alive, resets. Idle it wakes up ten times a
// second.
type watcher struct {
	loop *reactor.Reactor
	fast *reactor.Poller // armed while the controller is being reset
	ctrl *nvme.Controller
}

func newWatcher(name string) (*watcher, error) {
	loop, err := reactor.Start(reactor.Options{Name: "nvme " + name, Mode: reactor.Sleep})
	if err != nil {
		return nil, fmt.Errorf("%s: background polling: %w", name, err)
	}
	w := &watcher{loop: loop}
	w.fast = loop.RegisterWith(reactor.PollerOptions{Name: "reset", Poll: w.poll, Period: hurryPeriod, Disarmed: true})
	return w, nil
}

// start begins to poll. The controller is open; what happened while it was being opened it will say again or forget.
func (w *watcher) start(c *nvme.Controller) {
	w.loop.Send(func() {
		w.ctrl = c
		w.loop.RegisterTimed("watch", watchPeriod, w.poll)
	})
}

// poll runs on the reactor. Why the controller does not work, its requests say.
func (w *watcher) poll() bool {
	if w.ctrl != nil {
		_ = w.ctrl.Poll()
	}
	return false
}

// hurry has the controller polled every millisecond, or no longer.
func (w *watcher) hurry(on bool) {
	if on {
		w.fast.Arm()
	} else {
		w.fast.Disarm()
	}
}

// stop ends polling and waits for that.
func (w *watcher) stop() { w.loop.Stop() }
