package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/open"
	"github.com/blobkv/blobkv/internal/size"
)

func (c *cli) bdevCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "bdev", Short: "The block device below the store"}
	cmd.AddCommand(&cobra.Command{
		Use: "info", Short: "Size and properties of the device", Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return c.bdevInfo() },
	}, c.perfCommand(), c.exportCommand())
	return cmd
}

// bdevProperties is the JSON of bdev info.
type bdevProperties struct {
	Device          string `json:"device"`
	Size            int64  `json:"size"`
	BlockSize       int    `json:"block_size"`
	AtomicWriteUnit int    `json:"atomic_write_unit"`
	BufferAlign     int    `json:"buffer_align"`
	MaxTransfer     int    `json:"max_transfer"`
	OptimalBoundary int    `json:"optimal_boundary"`
	WriteCache      bool   `json:"write_cache"`
	Durable         bool   `json:"durable"`
	Sparse          bool   `json:"sparse"`
	ReadOnly        bool   `json:"read_only"`
	Native          string `json:"native"`
	QueueDepth      int    `json:"queue_depth"`
	MaxCompareWrite int    `json:"max_compare_write"`
	Unmapped        string `json:"unmapped"`
	Note            string `json:"note,omitempty"`

	Health *bdev.Health `json:"health,omitempty"`
}

func (c *cli) bdevInfo() error {
	dev, err := c.openDevice(open.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer dev.Close()
	p := dev.Properties()
	v := bdevProperties{
		dev.Name(), dev.Size(), p.BlockSize, p.AtomicWriteUnit, p.BufferAlign, p.MaxTransfer, p.OptimalBoundary,
		p.WriteCache, p.Durable, p.Sparse, p.ReadOnly, p.Native.String(), p.QueueDepth, p.MaxCompareWrite, p.Unmapped.String(),
		p.Note, nil,
	}
	switch h, err := dev.Health(); {
	case err == nil:
		v.Health = &h
	case !errors.Is(err, bdev.ErrUnsupported):
		return err
	}
	return c.print(v, func(w io.Writer) {
		row(w, "device", v.Device)
		row(w, "size", fmt.Sprintf("%s (%d bytes)", size.Human(v.Size), v.Size))
		row(w, "block size", v.BlockSize)
		row(w, "atomic write unit", v.AtomicWriteUnit)
		row(w, "buffer alignment", v.BufferAlign)
		row(w, "largest transfer", size.Human(int64(v.MaxTransfer)))
		row(w, "volatile write cache", v.WriteCache)
		row(w, "durable after flush", v.Durable)
		row(w, "sparse image", v.Sparse)
		row(w, "native operations", v.Native)
		row(w, "unmapped ranges read as", v.Unmapped)
		row(w, "queue depth", v.QueueDepth)
		if h := v.Health; h != nil {
			row(w, "health", healthText(h))
		}
		if v.Note != "" {
			row(w, "note", v.Note)
		}
	})
}

// healthText is how the medium is doing, in a line.
func healthText(h *bdev.Health) string {
	text := "good"
	if len(h.Warnings) > 0 {
		text = strings.Join(h.Warnings, ", ")
	}
	return fmt.Sprintf("%s; %s, %d %% worn, %d %% spare, %d media errors", text, temperatureText(h.TemperatureC),
		h.WearPercent, h.SparePercent, h.MediaErrors)
}

// perfFlags are the flags of bdev perf before they are checked.
type perfFlags struct {
	perfConfig
	blockSize, span string
	policy          string
	force, prefill  bool
	scratch         bool
}

func (c *cli) perfCommand() *cobra.Command {
	f := perfFlags{blockSize: "4k", policy: "adaptive"}
	f.depth, f.threads, f.duration, f.rw, f.readShare = 1, 1, 5*time.Second, "randread", 50
	cmd := &cobra.Command{
		Use: "perf", Short: "Measure the device", Args: noArgs,
		Long: `Measure the device with one kind of I/O for some time.

Each thread is a goroutine. With --iodepth 1 it does one I/O at a time on the device's shared channels, as a store does; with
more it keeps that many in flight on a channel of its own. Reads of an image that was never written meet holes: fill it first
(--prefill, needs --force unless the device is RAM). Workloads that write destroy what is on the device and need --force too.

With --scratch they leave it alone: the run is on a new file beside the image, on the same disk and with the same options, that is
written in full before and removed afterwards. "--rw write --flush-each --scratch" is what a durable write to a log that was used
before takes at least.`,
		Example: `  blobcli -d malloc:512MiB bdev perf --rw randread --iodepth 32
  blobcli -d aio:/tmp/x.img bdev perf --rw write --flush-each --scratch
  blobcli -d aio:/dev/nvme1n1 bdev perf --rw randwrite --iodepth 32 --force`,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.perf(cmd, &f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.rw, "rw", f.rw, "read, write, randread, randwrite, randrw or flush")
	flags.IntVar(&f.readShare, "rwmix", f.readShare, "percent of reads in randrw")
	flags.BoolVar(&f.flushEach, "flush-each", false, "flush after every write; the latency is that of both")
	flags.StringVar(&f.blockSize, "bs", f.blockSize, "bytes of one I/O")
	flags.IntVar(&f.depth, "iodepth", f.depth, "I/Os each thread keeps in flight")
	flags.IntVar(&f.threads, "threads", f.threads, "goroutines")
	flags.StringVar(&f.policy, "policy", f.policy, "how to wait: poll, adaptive or sleep; a policy in the name of the device counts more")
	flags.DurationVar(&f.duration, "time", f.duration, "how long to run")
	flags.BoolVar(&f.verify, "verify", false, "check the content of every read, and read back what was written")
	flags.StringVar(&f.span, "span", "", "use only so many bytes from the start of the device")
	flags.Uint64Var(&f.seed, "seed", 0, "seed of offsets and content; 0: a new one, printed")
	flags.BoolVar(&f.force, "force", false, "write on a device whose content will be destroyed")
	flags.BoolVar(&f.scratch, "scratch", false, "run on a new file beside the image, which is left alone; --span gives its size (64MiB)")
	flags.BoolVar(&f.prefill, "prefill", false, "write the whole span before the run")
	return cmd
}

// perf checks the flags against the device, fills it where needed, runs and prints.
func (c *cli) perf(cmd *cobra.Command, f *perfFlags) (err error) {
	if f.scratch {
		remove, err := c.useScratch(f)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, remove()) }()
	}
	dev, err := c.openPerf(f)
	if err != nil {
		return err
	}
	defer dev.Close()
	if err := f.resolve(dev); err != nil {
		return err
	}
	run, err := newPerfRun(cmd.Context(), dev, f.perfConfig)
	if err != nil {
		return err
	}
	line := c.progressLine()
	defer line.clear()
	if f.fills(dev) {
		if err := run.prefill(func(done, total int64) { line.show("filling %d %%", done*100/total) }); err != nil {
			return err
		}
	}
	r, err := run.execute(func(ios uint64, elapsed time.Duration) {
		line.show("%s %.0f s  %.0f I/O per second", f.rw, elapsed.Seconds(), float64(ios)/elapsed.Seconds())
	})
	if err != nil {
		return err
	}
	if f.verify && f.writes() {
		n, err := run.readBack()
		if err != nil {
			return err
		}
		r.Verified += n
	}
	r.Policy, r.Interrupted = dev.Policy().String(), cmd.Context().Err() != nil
	if dev.Properties().Sparse && f.rw != "flush" && !f.writes() {
		r.Note = "an image file: ranges that were never written are holes and cost no device time (--prefill)"
	}
	line.clear()
	return errors.Join(c.print(r, r.text), cmd.Context().Err())
}

// openPerf opens the device and makes sure that writing on it is wanted.
func (c *cli) openPerf(f *perfFlags) (*bdev.Device, error) {
	policy, err := bdev.ParsePolicy(f.policy)
	if err != nil {
		return nil, &usageError{err}
	}
	writes := f.writes() || f.prefill || f.verify || isRAM(c.device)
	dev, err := c.openDevice(open.Options{ReadOnly: !writes, Create: writes, Policy: policy})
	if err != nil {
		return nil, err
	}
	if writes && !dev.Fresh() && !f.force {
		dev.Close()
		return nil, usagef("this run overwrites what is on %s: --scratch runs on a file beside an image, --force here", dev.Name())
	}
	return dev, nil
}

// fills says whether the span is written before the run: always in RAM, where untouched memory would be measured, and
// before reads whose content is checked.
func (f *perfFlags) fills(dev *bdev.Device) bool {
	return f.prefill || f.verify && f.rw != "write" && f.rw != "randwrite" || !dev.Properties().Durable && f.rw != "flush"
}

func (f *perfFlags) resolve(dev *bdev.Device) error {
	bs, err := size.Parse(f.blockSize)
	if err != nil {
		return usagef("--bs: %w", err)
	}
	f.perfConfig.blockSize = int(bs)
	f.perfConfig.span = dev.Size()
	if f.span != "" {
		span, err := size.Parse(f.span)
		if err != nil {
			return usagef("--span: %w", err)
		}
		f.perfConfig.span = min(span, dev.Size())
	}
	if f.seed == 0 {
		f.seed = rand.Uint64()
	}
	return f.validate(dev)
}
