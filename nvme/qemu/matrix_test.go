package qemu

import (
	"cmp"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/internal/qemutest"
)

// envRun asks for the tests of this package: "pairwise" for the choice, "full" for all boots, "bench" for the measurements.
const envRun = "NVME_QEMU"

// buildTime bounds the making of the guest's program.
const buildTime = 5 * time.Minute

// bootTime bounds a boot; all but startTime is the guest's program's.
const (
	bootTime  = 2 * time.Minute
	startTime = 20 * time.Second
)

// modules of the kernel that the guest needs. Some are built into some kernels.
var modules = []string{"?irqbypass", "?vfio_virqfd", "?iommufd", "vfio_iommu_type1", "vfio-pci", "nvme"}

// boot is one machine and what runs in it.
type boot struct {
	name string
	machine
	tests  string // which tests of package guest
	env    []string
	kernel string        // more of its command line
	limit  time.Duration // of the boot; 0 is bootTime
	full   bool          // in the whole matrix alone
	tools  bool          // the guest has kvbench and blobcli
	kill   bool          // the guest asks for a power cut
	after  func(t *testing.T, folder string, r *qemutest.Result)
}

func TestMatrix(t *testing.T) {
	mode := os.Getenv(envRun)
	if mode != "pairwise" && mode != "full" {
		t.Skipf("boots virtual machines; `make test-nvme` runs it (%s=pairwise)", envRun)
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildTime)
	defer cancel()
	tools, err := qemutest.Find(ctx)
	require.NoError(t, err)
	images := guestImages(t, ctx, tools)
	for _, b := range boots() {
		if b.full && mode != "full" {
			continue
		}
		t.Run(b.name, func(t *testing.T) { b.run(t, images.of(b)) })
	}
}

// images are the two kinds of guest: the tests alone, which boots faster, and the tests beside kvbench and blobcli.
type images struct{ plain, tools *qemutest.Image }

func (i images) of(b boot) *qemutest.Image {
	if b.tools {
		return i.tools
	}
	return i.plain
}

func guestImages(t *testing.T, ctx context.Context, tools qemutest.Tools) (i images) {
	t.Helper()
	program, commands := guestPrograms(t, ctx)
	var err error
	i.plain, err = qemutest.NewImage(ctx, tools, t.TempDir(), program, modules, nil)
	require.NoError(t, err)
	i.tools, err = qemutest.NewImage(ctx, tools, t.TempDir(), program, modules, commands)
	require.NoError(t, err)
	return i
}

// guestPrograms builds what runs in guests, static: the tests, and the commands by their paths there.
func guestPrograms(t *testing.T, ctx context.Context) (program string, commands map[string]string) {
	t.Helper()
	folder := t.TempDir()
	program = filepath.Join(folder, "guest.test")
	goBuild(t, ctx, "test", "-c", "-o", program, "./guest")
	goBuild(t, ctx, "build", "-o", folder+"/", "../../cmd/kvbench", "../../cmd/blobcli")
	commands = map[string]string{}
	for _, name := range []string{"kvbench", "blobcli"} {
		commands["/bin/"+name] = filepath.Join(folder, name)
	}
	return program, commands
}

func goBuild(t *testing.T, ctx context.Context, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=-ldflags=-w")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// run boots a machine and reports each of the guest's tests as one of the host's.
func (b boot) run(t *testing.T, image *qemutest.Image) {
	folder := t.TempDir()
	limit := cmp.Or(b.limit, bootTime)
	r, err := image.Boot(context.Background(), qemutest.Config{
		Args:    b.arguments(t, folder),
		Run:     []string{"-test.v", "-test.timeout", (limit - startTime).String(), "-test.run", b.tests},
		Env:     append([]string{"NVME_GUEST=" + b.json(t)}, b.env...),
		Kernel:  "intel_iommu=on " + b.kernel,
		Timeout: limit,
	})
	require.NotNil(t, r)
	if r.Again != nil {
		t.Logf("started once more: %v", r.Again)
	}
	t.Logf("%.1f s", r.Took.Seconds())
	for _, g := range r.Tests {
		t.Run(g.Name, func(t *testing.T) {
			switch g.Status {
			case "PASS":
				t.Log(g.Took, g.Output)
			case "": // the power was cut in it
				if !b.kill || !r.Killed {
					t.Errorf("it did not end:\n%s", g.Output)
				}
			case "SKIP":
				t.Skip(g.Output)
			default:
				t.Errorf("%s in the guest:\n%s", g.Status, g.Output)
			}
		})
	}
	if err != nil || b.kill != r.Killed || r.Failed() || len(r.Tests) == 0 {
		t.Errorf("the guest ended with %d, killed %v: %v\n%s\nconsole:\n%s", r.Exit, r.Killed, err, r.Rest, tail(r.Console))
	}
	if b.after != nil && !t.Failed() {
		b.after(t, folder, r)
	}
}

// tail is the end of a long text.
func tail(s string) string {
	lines := strings.Split(s, "\n")
	return strings.Join(lines[max(0, len(lines)-60):], "\n")
}
