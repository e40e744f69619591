package blobstore

import "time"

// The worker is the store's one goroutine: it makes checkpoints when the journal asks for one, frees clusters when the
// last I/O on them ends, and gives free space of a sparse image back to the host. It sleeps without a timer unless
// there is space to give back.

// punchDelay is how long after the last freeing of clusters the worker looks whether a punch is worth it.
const punchDelay = time.Second

// kick wakes the worker.
func (s *Store) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Store) startWorker() {
	s.worker.Go(s.work)
}

// stopWorker returns when the worker is gone. It is called once.
func (s *Store) stopWorker() {
	close(s.quit)
	s.worker.Wait()
}

func (s *Store) work() {
	idle := time.NewTimer(punchDelay)
	idle.Stop()
	defer idle.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-s.wake:
			s.tend()
			if s.space.sparse {
				idle.Reset(punchDelay)
			}
		case <-idle.C:
			s.punch()
		}
	}
}

// tend does what the store asked for. A checkpoint that fails makes the store read-only, which is how its error is told.
func (s *Store) tend() {
	s.mu.Lock()
	want := s.wantCheckpoint && s.needsCheckpoint() && s.Err() == nil
	s.wantCheckpoint = false
	if s.space.settle(s.DurableLSN()) {
		s.changed.Broadcast()
	}
	s.mu.Unlock()
	if want {
		_ = s.checkpoint()
	}
}

// needsCheckpoint reports whether somebody waits for room or will soon: a wish that a checkpoint has just fulfilled
// does not make another. The caller holds mu.
func (s *Store) needsCheckpoint() bool {
	return s.starved > 0 || s.j.used() > s.j.geo.ring/2 || s.dirtyCost > s.dirtyLimit()/2
}
