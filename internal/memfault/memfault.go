// Package memfault makes an error of a fault in memory that another process may take away: a mapped file that it cuts short. Without
// debug.SetPanicOnFault on the goroutine, such a fault ends the program before anything here is asked.
package memfault

import (
	"errors"
	"fmt"
	"runtime"
)

// ErrFault is wrapped by what Recover makes.
var ErrFault = errors.New("the memory is not there any more")

// Recover is deferred by a function that touches such memory, with the error that the function returns. Panics that are no fault at an
// address go on.
func Recover(err *error) {
	p := recover()
	if p == nil {
		return
	}
	fault, ok := p.(runtime.Error)
	if _, addressed := p.(interface{ Addr() uintptr }); !ok || !addressed {
		panic(p)
	}
	*err = fmt.Errorf("%w: %w", ErrFault, fault)
}

// Copy is copy, from or to such memory.
func Copy(dst, src []byte) (err error) {
	defer Recover(&err)
	copy(dst, src)
	return nil
}
