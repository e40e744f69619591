package main

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// engineLogger prints an engine's errors and counts its logs; what else Pebble tells about its daily life is dropped.
// Counting flushes instead would miss: one flush takes what several logs held, and is over a moment after it is counted.
type engineLogger struct {
	logs     atomic.Int64 // made for writes to come, by either way
	recycled atomic.Int64 // of them, those whose file was a log before
	errors   atomic.Int64
}

// maxErrors bounds the errors that are printed: compactions fail at once and are tried again when a device has gone.
const maxErrors = 10

// Infof is told of events as values, by the engine's own listener.
func (l *engineLogger) Infof(_ string, args ...any) {
	for _, a := range args {
		if info, ok := a.(pebble.WALCreateInfo); ok && info.Err == nil {
			l.logs.Add(1)
			if info.RecycledFileNum != 0 {
				l.recycled.Add(1)
			}
		}
	}
}

func (l *engineLogger) Errorf(format string, args ...any) { l.complain(os.Stderr, format, args...) }

func (l *engineLogger) complain(w io.Writer, format string, args ...any) {
	switch n := l.errors.Add(1); {
	case n <= maxErrors:
		fmt.Fprintf(w, "pebble: "+format+"\n", args...)
	case n == maxErrors+1:
		fmt.Fprintln(w, "pebble: further errors are not printed")
	}
}

// Fatalf must not return: Pebble calls it where it cannot go on.
func (l *engineLogger) Fatalf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "pebble: "+format+"\n", args...)
	os.Exit(exitFailed)
}
