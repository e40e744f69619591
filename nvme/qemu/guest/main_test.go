//go:build linux

package guest

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/internal/qemutest"
	"github.com/blobkv/blobkv/nvme/nvmetest"
	"github.com/blobkv/blobkv/nvme/vfio"
)

// envConfig says what the machine's controller is, as JSON of nvmetest.Controller. It is set in a guest only.
const envConfig = "NVME_GUEST"

var expected nvmetest.Controller

func TestMain(m *testing.M) {
	if qemutest.IsInit() {
		if err := qemutest.Init(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return
	}
	text := os.Getenv(envConfig)
	if text == "" {
		return // no guest
	}
	if err := json.Unmarshal([]byte(text), &expected); err != nil {
		panic(err)
	}
	m.Run()
}

// controller binds the first controller to vfio-pci and returns its address.
func controller(t *testing.T) string {
	t.Helper()
	list, err := vfio.System().List()
	require.NoError(t, err)
	require.NotEmpty(t, list, "no NVMe controller in this machine")
	require.NoError(t, vfio.System().Bind(list[0].Address))
	return list[0].Address
}

// open opens the first controller, and closes it at the end of the test.
func open(t *testing.T) *vfio.Transport {
	t.Helper()
	d, err := vfio.Open(controller(t), vfio.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}
