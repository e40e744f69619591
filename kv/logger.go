package kv

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// engineLogger is the engine's logger on Options.Logger, which may be nil.
type engineLogger struct{ l Logger }

var _ pebble.Logger = engineLogger{}

func (e engineLogger) Infof(format string, args ...any) {
	if e.l != nil {
		e.l.Infof(format, args...)
	}
}

func (e engineLogger) Errorf(format string, args ...any) {
	if e.l != nil {
		e.l.Errorf(format, args...)
	}
}

// Fatalf must not return: the engine calls it when its log cannot be written and goes on as if it were not there
// otherwise. The package documentation says which errors end here.
func (e engineLogger) Fatalf(format string, args ...any) {
	msg := fmt.Sprintf(format, args...)
	e.Errorf("%s", msg)
	panic("kv: the engine cannot continue: " + msg)
}
