//go:build linux

package guest

import (
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/internal/qemutest"
	"github.com/blobkv/blobkv/nvme/nvmetest"
	"github.com/blobkv/blobkv/nvme/vfio"
)

func driverEnv() nvmetest.DriverEnv {
	return nvmetest.DriverEnv{Env: env(vfio.ByAny), Controller: expected}
}

func TestDriver(t *testing.T) { nvmetest.Driver(t, driverEnv()) }

// unplug asks QEMU to unplug the controller, which the kernel then wants back.
func unplug(t *testing.T) {
	t.Helper()
	_, err := qemutest.Call(qemutest.CallQMP, `{"execute":"device_del","arguments":{"id":"nvme0"}}`)
	require.NoError(t, err)
}

func TestDriverRemoval(t *testing.T) {
	nvmetest.Removal(t, driverEnv(), func() { unplug(t) })
}

// envFlush is "no" to leave out what makes writes durable, to see that the check on the host notices.
const envFlush = "POWER_CUT_FLUSH"

// TestPowerCut ends the machine in the middle of its writes.
func TestPowerCut(t *testing.T) {
	durable := func(round int) {
		_, err := qemutest.Call(qemutest.CallNote, strconv.Itoa(round))
		require.NoError(t, err)
	}
	nvmetest.PowerCut(t, driverEnv(), os.Getenv(envFlush) != "no", 60, durable, func() {
		_, err := qemutest.Call(qemutest.CallKill)
		t.Fatalf("still here: %v", err)
	})
}
