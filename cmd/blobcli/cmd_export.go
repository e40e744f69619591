package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/open"
	"github.com/blobkv/blobkv/nvme/connect"
	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/vfiouser"
)

const exportLong = `export serves the device as an NVMe controller to another process or a virtual machine, over the vfio-user socket "cntrl" in a
folder, which is made when it does not exist, as is an image. Here and in kv.Open a client names it nvme:vfio-user:FOLDER. It stays in the
foreground until Ctrl-C or SIGTERM, and then removes the socket, makes everything durable and ends with exit code 0.

One client at a time has the controller; another one is refused, and may come when the first has gone, or at the latest after
5 s when that has only connected and says nothing. Whoever can write to the socket can read and change the whole device (--read-only: only
read it), but not format it. The client's memory is shared with this process.

A processor is busy while a client sends commands. Afterwards the process sleeps, up to 2 ms at a time, and up to 50 ms once nothing
has come for seconds. Clients of this program wake it; a command of another one may wait so long.`

// exportFlags are what export takes.
type exportFlags struct {
	dir      string
	readOnly bool
	queues   int
}

func (c *cli) exportCommand() *cobra.Command {
	f := exportFlags{}
	cmd := &cobra.Command{Use: "export [DEVICE]", Short: "Serve the device as an NVMe controller over a vfio-user socket (Linux)", Long: exportLong, Args: cobra.MaximumNArgs(1),
		Example: `  blobcli bdev export 'aio:/tmp/drive.img?size=1GiB' --vfio-user /tmp/drive
  blobcli -d nvme:vfio-user:/tmp/drive bdev info     # meanwhile, from elsewhere`,
		RunE: func(cmd *cobra.Command, args []string) error { return c.export(cmd.Context(), args, f) }}
	cmd.Flags().StringVar(&f.dir, "vfio-user", "", "folder of the socket")
	cmd.Flags().BoolVar(&f.readOnly, "read-only", false, "refuse writes")
	cmd.Flags().IntVar(&f.queues, "queues", 8, "I/O queue pairs that a client gets at most")
	return cmd
}

// maxExportQueues is what the doorbells of one page hold.
const maxExportQueues = 128

func (c *cli) export(ctx context.Context, args []string, f exportFlags) error {
	switch {
	case len(args) > 0 && c.device != "" && c.device != args[0]:
		return usagef("two devices: %s and %s", c.device, args[0])
	case f.dir == "":
		return usagef("where? pass --vfio-user DIR")
	case f.queues < 1 || f.queues > maxExportQueues:
		return usagef("--queues %d: want 1 to %d", f.queues, maxExportQueues)
	case len(args) > 0:
		c.device = args[0]
	}
	dev, err := c.openDevice(open.Options{ReadOnly: f.readOnly, Create: !f.readOnly})
	if err != nil {
		return err
	}
	says := make(chan string, 64)
	storage := exportStorage{dev, func(text string) {
		select {
		case says <- text:
		default: // a client or a device that fails faster than a person reads
		}
	}}
	s, err := vfiouser.Listen(f.dir, vfiouser.Soft(exportConfig(storage, f)), vfiouser.ServerOptions{Log: storage.log})
	if err != nil {
		return errors.Join(err, open.Discard(dev))
	}
	err = errors.Join(c.serveExport(ctx, s, says), s.Close(), storage.close())
	if err != nil {
		return &lateError{err}
	}
	return nil
}

// exportView is what export prints when clients may come.
type exportView struct {
	Device string `json:"device"`
	Socket string `json:"socket"`
	Name   string `json:"name"` // of the device for clients
}

// serveExport serves until the context ends, and prints what is said.
func (c *cli) serveExport(ctx context.Context, s *vfiouser.Server, says <-chan string) error {
	controller := connect.Target{Socket: filepath.Dir(s.Path())}
	view := exportView{c.device, s.Path(), open.Spec{Scheme: "nvme", Controller: controller.String()}.String()}
	err := c.print(view, func(w io.Writer) {
		fmt.Fprintf(w, "%s is served on %s; clients name it %s. Ctrl-C ends it.\n", view.Device, view.Socket, view.Name)
	})
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() { c.watchExport(s, says, ended) })
	err = s.Serve(ctx)
	close(ended)
	watcher.Wait()
	return err
}

// exportConfig is a controller whose one namespace is the device.
func exportConfig(storage exportStorage, f exportFlags) softctrl.Config {
	p := storage.dev.Properties()
	sum := fnv.New64a()
	_, _ = io.WriteString(sum, storage.dev.Name()) // a hash takes everything
	return softctrl.Config{
		Serial: fmt.Sprintf("BKV%016X", sum.Sum64()), Model: "blobkv bdev",
		Fixed:  true, // what it serves is the device's
		Queues: f.queues, Vectors: f.queues + 1, MDTS: exportMDTS, SGL: true, WriteCache: p.WriteCache,
		AtomicBlocks: uint16(max(1, p.AtomicWriteUnit/p.BlockSize)),
		Namespaces:   []softctrl.NamespaceConfig{{Storage: storage.forController(), BlockSize: p.BlockSize, ReadOnly: f.readOnly, Boundary: boundaryBlocks(p)}},
	}
}

// exportMDTS makes 1 MiB the largest transfer: 4 KiB << 8.
const exportMDTS = 8

// boundaryBlocks is the optimal boundary in blocks, 0 when there is none or it does not fit the field.
func boundaryBlocks(p bdev.Properties) uint16 {
	if n := p.OptimalBoundary / p.BlockSize; n < 1<<16 {
		return uint16(n)
	}
	return 0
}

// watchExport prints what the server says, and on a terminal one line about what it does.
func (c *cli) watchExport(s *vfiouser.Server, says <-chan string, ended <-chan struct{}) {
	const every = 500 * time.Millisecond
	line := c.progressLine()
	defer line.clear()
	tick := time.NewTicker(every)
	defer tick.Stop()
	last := s.Stats().Commands
	for {
		select {
		case text := <-says:
			line.clear()
			c.complain(text)
		case <-tick.C:
			st := s.Stats()
			state := "no client"
			if st.Connected {
				state = "1 client"
			}
			line.show("%s, %d commands, %.0f per second", state, st.Commands, float64(st.Commands-last)/every.Seconds())
			last = st.Commands
		case <-ended:
			for len(says) > 0 {
				line.clear()
				c.complain(<-says)
			}
			return
		}
	}
}
