package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// closeTimeout is how long an engine may take to close its store before it is killed.
const closeTimeout = 15 * time.Second

// process is the parent's handle of an engine process.
type process struct {
	name    string
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	replies *json.Decoder
	exited  chan struct{} // closed once the process has been waited for
	waitErr error         // valid once exited is closed
}

// startProcess starts this binary again as an engine.
func startProcess(name string, stderr io.Writer) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, engineCommand)
	cmd.Stderr = stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, in, err := os.Pipe() // not StdoutPipe: Wait must not cut off a reply that is still unread
	if err != nil {
		return nil, err
	}
	cmd.Stdout = in
	err = cmd.Start()
	in.Close()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start engine %s: %w", name, err), out.Close())
	}
	p := &process{name: name, cmd: cmd, stdin: stdin, replies: json.NewDecoder(bufio.NewReader(out)), exited: make(chan struct{})}
	go func() {
		p.waitErr = cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// call sends a request and waits for its final reply. Once cancelled is closed it ends the engine's input, which makes
// the engine stop, and returns errCancelled.
func (p *process) call(cancelled <-chan struct{}, req request, tell func(progress)) (result, error) {
	if err := json.NewEncoder(p.stdin).Encode(req); err != nil {
		return result{}, p.explain(err)
	}
	type answer struct {
		res result
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		res, err := p.await(tell)
		answers <- answer{res, err}
	}()
	select {
	case a := <-answers:
		return a.res, a.err
	case <-cancelled:
		p.stdin.Close()
		return result{}, errCancelled
	}
}

var errCancelled = errors.New("cancelled")

// errKilled marks an engine process that a signal has ended.
var errKilled = errors.New("killed")

// await reads replies up to the final one.
func (p *process) await(tell func(progress)) (result, error) {
	for {
		var r reply
		if err := p.replies.Decode(&r); err != nil {
			return result{}, p.explain(err)
		}
		switch r.Kind {
		case replyProgress:
			tell(r.Progress)
		case replyDone:
			return r.Result, nil
		default:
			if r.Usage {
				return result{}, usagef("%s", r.Error)
			}
			return result{}, fmt.Errorf("engine %s: %s", p.name, r.Error)
		}
	}
}

// explain turns a broken pipe into what became of the process.
func (p *process) explain(err error) error {
	select {
	case <-p.exited:
		if p.cmd.ProcessState != nil && !p.cmd.ProcessState.Exited() {
			return fmt.Errorf("engine %s was %w (%v)", p.name, errKilled, p.cmd.ProcessState)
		}
		return fmt.Errorf("engine %s has ended, its last words are above: %v", p.name, p.waitErr)
	case <-time.After(time.Second):
		return fmt.Errorf("engine %s does not answer: %w", p.name, err)
	}
}

// close ends the engine's input, upon which it closes its store, and waits for it to exit.
func (p *process) close() error {
	p.stdin.Close()
	select {
	case <-p.exited:
		return p.waitErr
	case <-time.After(closeTimeout):
	}
	p.cmd.Process.Kill()
	<-p.exited
	return fmt.Errorf("engine %s did not close its store within %v and was killed", p.name, closeTimeout)
}
