package main

import (
	"fmt"
	"sync/atomic"
	"time"
)

// How logs are prepared. The engine starts with a small memtable, and so a small log, doubles both up to
// --write_buffer_size, and uses a log again once its memtable has been flushed.
const (
	primeValueSize    = 16 << 10 // bytes
	primeParts        = 4        // a priming batch is a bit more than this part of a memtable: two of them make it full size
	freshBatches      = 2        // that leave the engine at the start of its first full-size log
	recycledRotations = 10       // full-size logs after which every log that is used again was full-size: four wait for their memtables, five to be used again
)

// primeLogs brings the log of a fresh store into the state that a row wants, without a trace in the data.
//
// For fresh: two batches, each larger than the room that is left, rotate the log twice; the one in use then is the first
// of full size and no log has been recycled for it. For recycled: enough memtables are filled that the logs which come
// next have all been written to their full length before.
func primeLogs(s store, state logState, memTableSize int64, cancelled *atomic.Bool) error {
	if state == logAny {
		return nil
	}
	batches := freshBatches
	if state == logRecycled {
		batches += recycledRotations * primeParts
	}
	keys := primeKeys(memTableSize/primeParts + primeValueSize)
	value := make([]byte, primeValueSize)
	for range batches {
		if cancelled.Load() {
			return errCancelled
		}
		if err := s.fill(keys, value); err != nil {
			return fmt.Errorf("prepare the log: %w", err)
		}
	}
	return s.deleteRange(keys[0], append(keys[len(keys)-1], 0))
}

// primeKeys sort before every key of the workloads, which are digits.
func primeKeys(bytes int64) [][]byte {
	keys := make([][]byte, bytes/primeValueSize+1)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "!kvbench/%06d", i)
	}
	return keys
}

// quietPolls polls in a row without work in progress mean that the engine is at rest: between a flush and the
// compaction that follows it there is a moment without either.
const (
	quietPolls    = 3
	quietInterval = 10 * time.Millisecond
	quietTimeout  = 5 * time.Minute
)

// settle waits until no flush and no compaction runs.
func settle(s store, cancelled *atomic.Bool) error {
	deadline := time.Now().Add(quietTimeout)
	for quiet := 0; quiet < quietPolls; {
		if s.metrics().busy {
			quiet = 0
		} else {
			quiet++
		}
		if cancelled.Load() {
			return errCancelled
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the engine is still compacting after %v", quietTimeout)
		}
		time.Sleep(quietInterval)
	}
	return nil
}
