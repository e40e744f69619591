package qemutest

import "strings"

// The guest's second serial port carries the output of its program. A line that begins with mark is for the host: a request
// that the host answers with one line, or the program's end.
const (
	mark     = "\x01"
	wordCall = mark + "call " // and words, the first of which is the request
	wordExit = mark + "exit " // and the program's exit code
	paramRun = "qemutest.run="
)

// Requests of the guest that Boot itself answers.
const (
	CallQMP  = "qmp"  // and a QMP command as JSON: the answer is its result
	CallKill = "kill" // ends QEMU at once, as a power cut ends a machine; there is no answer
	CallNote = "note" // and a text, which Result.Notes gets
)

// command is what the guest is to run; it travels on the kernel's command line.
type command struct {
	Args, Env []string
}

// answer is a line for the guest: "ok" or "error", then text without line ends.
func answer(text string, err error) string {
	word := "ok "
	if err != nil {
		word, text = "error ", err.Error()
	}
	return word + strings.ReplaceAll(text, "\n", " ") + "\n"
}
