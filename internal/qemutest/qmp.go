package qemutest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// monitorTime bounds one command.
const monitorTime = 30 * time.Second

// monitor speaks QMP, QEMU's control protocol: one JSON object per line; answers come in order, events in between.
type monitor struct {
	mu   sync.Mutex
	conn net.Conn
	in   *bufio.Scanner
}

type reply struct {
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class, Desc string
	} `json:"error"`
}

// newMonitor greets: QEMU sends a banner and takes commands after qmp_capabilities.
func newMonitor(conn net.Conn) (*monitor, error) {
	m := &monitor{conn: conn, in: bufio.NewScanner(conn)}
	m.in.Buffer(nil, 1<<20)
	_, err := m.execute(`{"execute":"qmp_capabilities"}`)
	return m, err
}

// execute runs a command and returns its result, passing over the banner and events.
func (m *monitor) execute(command string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.conn.SetDeadline(time.Now().Add(monitorTime)); err != nil {
		return "", err
	}
	if _, err := m.conn.Write([]byte(command + "\n")); err != nil {
		return "", fmt.Errorf("%s: %w: %w", command, ErrMonitor, err)
	}
	for m.in.Scan() {
		var r reply
		if err := json.Unmarshal(m.in.Bytes(), &r); err != nil {
			return "", fmt.Errorf("%s: %w: %w", command, ErrMonitor, err)
		}
		switch {
		case r.Error != nil:
			return "", fmt.Errorf("%s: %w: %s", command, ErrMonitor, r.Error.Desc)
		case r.Return != nil:
			return string(r.Return), nil
		}
	}
	return "", fmt.Errorf("%s: %w: no answer: %v", command, ErrMonitor, m.in.Err())
}

// examine is what the monitor says of the machine: whether it runs, and where its processors are.
func (m *monitor) examine() string {
	text := ""
	for _, question := range []string{`{"execute":"query-status"}`, `{"execute":"human-monitor-command","arguments":{"command-line":"info registers -a"}}`} {
		answer, err := m.execute(question)
		if err != nil {
			return text + err.Error()
		}
		text += strings.ReplaceAll(answer, `\r\n`, "\n") + "\n"
	}
	return text
}
