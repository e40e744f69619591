package main

import (
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const longHelp = `kvbench runs db_bench's workloads on a blobkv store and prints throughput, latency, CPU and bytes at the device.

Without arguments it makes a fresh store on a sparse image file in the temp folder and answers in under a minute. Stores
are kept (but with --keep=false), and the commands that remove them printed; those of a run that is interrupted are removed.
With --vs hostfs it runs the same Pebble on the kernel's file system, row by row beside it, and prints the ratios.`

const exampleHelp = `  kvbench
  kvbench --device aio:/data/bench.img --num 5000000 --threads 4
  kvbench --vs hostfs --benchmarks fillsync --threads 1,16 --bound --log_rotations 8 --write_buffer_size 1MiB
  kvbench --vs hostfs --loop 2GiB --benchmarks fillsync --bound
  kvbench --vs hostfs:/mnt/ext4 --memory 512MiB --data_over_memory 4 --duration 30s --benchmarks fillrandom,readrandom --threads 1,4,64
  kvbench --device aio:/data/bench.img --use_existing_db --benchmarks readrandom --duration 10s --format json`

// flagGroup is a titled part of the help.
type flagGroup struct {
	title string
	flags *pflag.FlagSet
}

// newCommand builds the command line.
func newCommand(stdout, stderr io.Writer) *cobra.Command {
	s := defaultSettings()
	groups := flagGroups(&s)
	cmd := &cobra.Command{
		Use:           "kvbench [flags]",
		Long:          longHelp,
		Example:       exampleHelp,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unexpected argument %q: benchmarks are named with --benchmarks", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			s.NumGiven = cmd.Flags().Changed("num")
			s.Keep = s.Keep && s.Loop == 0
			return runBench(cmd.Context(), s, stdout, stderr)
		},
	}
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	for _, g := range groups {
		cmd.Flags().AddFlagSet(g.flags)
	}
	cmd.Flags().SetNormalizeFunc(underscores)
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usagef("%v", err) })
	cmd.SetHelpFunc(func(cmd *cobra.Command, _ []string) { printHelp(stdout, cmd, groups) })
	return cmd
}

// underscores accepts --value-size for db_bench's --value_size.
func underscores(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	return pflag.NormalizedName(strings.ReplaceAll(name, "-", "_"))
}

func flagGroups(s *settings) []flagGroup {
	return []flagGroup{
		{"Workload", workloadFlags(s)},
		{"Keys and values", dataFlags(s)},
		{"Store", storeFlags(s)},
		{"Comparison", comparisonFlags(s)},
		{"Output", outputFlags(s)},
	}
}

func newFlagSet() *pflag.FlagSet {
	f := pflag.NewFlagSet("kvbench", pflag.ContinueOnError)
	f.SortFlags = false
	return f
}

func workloadFlags(s *settings) *pflag.FlagSet {
	f := newFlagSet()
	f.StringVar(&s.Benchmarks, "benchmarks", s.Benchmarks, "what to run, in order, comma separated (listed below)")
	f.Int64Var(&s.Num, "num", s.Num, "number of keys, and of operations of a row, shared by its threads")
	f.IntSliceVar(&s.Threads, "threads", s.Threads, "goroutines that call the store at once; of a list (1,4,64) rows that read and fillsync run once with each, on the same data, and rows that load with the first")
	f.DurationVar(&s.Duration, "duration", s.Duration, "run each row but fillseq for this long instead of --num operations (rows that only read, and fillsync, stop after 5s without it)")
	f.IntVar(&s.LogRotations, "log_rotations", 0, "run fillsync and fillsync-recycled until the log was full so many times, instead of --num and --duration; on fresh logs that takes as many stores")
	f.IntVar(&s.Runs, "runs", s.Runs, "repeat each row and report the median")
	f.Uint64Var(&s.Seed, "seed", s.Seed, "of every random choice")
	f.BoolVar(&s.Sync, "sync", s.Sync, "make every write of every row durable, as fillsync does")
	f.Var(&s.WriteRate, "benchmark_write_rate_limit", "bytes that the writer of readwhilewriting writes per second; 0 for as many as it can, which makes CPU for a read that of the writes")
	f.IntVar(&s.SeekNexts, "seek_nexts", s.SeekNexts, "entries seekrandom reads after each seek")
	return f
}

func dataFlags(s *settings) *pflag.FlagSet {
	f := newFlagSet()
	f.IntVar(&s.KeySize, "key_size", s.KeySize, "bytes of a key")
	f.IntVar(&s.ValueSize, "value_size", s.ValueSize, "bytes of a value")
	f.Float64Var(&s.CompressionRatio, "compression_ratio", s.CompressionRatio, "what values compress to, 1 for not at all")
	return f
}

func storeFlags(s *settings) *pflag.FlagSet {
	f := newFlagSet()
	f.StringVar(&s.Device, "device", s.Device, "device of the store, such as aio:/data/x.img, malloc:1GiB, nvme:0000:01:00.0 or nvme-sim:1GiB (a fresh image in the temp folder)")
	f.BoolVar(&s.UseExistingDB, "use_existing_db", s.UseExistingDB, "use the store that is there; rows that need a fresh one are skipped")
	f.BoolVar(&s.Keep, "keep", s.Keep, "leave the stores when the run is over; --keep=false removes those that it made")
	f.BoolVar(&s.Destroy, "destroy", s.Destroy, "wipe the store that is there; the new one is this run's, and removed if it is interrupted")
	f.Var(&s.CacheSize, "cache_size", "bytes of the block cache; of ours three quarters are a cache of compressed blocks instead, so that both engines have the same (the host's page cache comes on top)")
	f.Var(&s.WriteBufferSize, "write_buffer_size", "bytes of a memtable")
	f.StringVar(&s.Compression, "compression_type", s.Compression, "snappy, none or zstd")
	return f
}

func comparisonFlags(s *settings) *pflag.FlagSet {
	f := newFlagSet()
	f.StringVar(&s.VS, "vs", s.VS, "hostfs or hostfs:DIR: also run the same Pebble on the kernel's file system (DIR: the image's folder)")
	f.Var(&s.Loop, "loop", "with --vs hostfs: compare on loop devices of this size, over files in DIR (the temp folder): an ext4 with a journal for the host, the bare device for ours; needs root and mkfs.ext4; nothing is kept")
	f.BoolVar(&s.Bound, "bound", false, "fillsync also runs on Pebble's own file system in RAM and as the device's bare write and flush, on a file beside the image that was written before: what a durable write takes at best, and whether it does")
	f.Var(&s.Memory, "memory", "total memory of each engine: ours gives an eighth of what buffers leave to the block cache and the rest to compressed blocks, the host's is split with the page cache in two ways and the better counts; an engine that its limit kills loses that row and goes on, and kvbench ends with exit code 3")
	f.Float64Var(&s.DataOverMemory, "data_over_memory", 0, "instead of --num: as many keys as make the live data so many times --memory; fillrandom is complete then, whatever --duration says")
	f.BoolVar(&s.DropCaches, "drop_caches", s.DropCaches, "drop the page cache and reopen the stores before each row, where permitted")
	return f
}

func outputFlags(s *settings) *pflag.FlagSet {
	f := newFlagSet()
	f.StringVar(&s.Format, "format", s.Format, "table, or json: one object per line")
	return f
}

// printHelp prints the flags in their groups, then the benchmarks and what the columns mean.
func printHelp(w io.Writer, cmd *cobra.Command, groups []flagGroup) {
	fmt.Fprintf(w, "%s\n\nUsage:\n  %s\n\nExamples:\n%s\n", cmd.Long, cmd.UseLine(), cmd.Example)
	for _, g := range groups {
		fmt.Fprintf(w, "\n%s:\n%s", g.title, g.flags.FlagUsagesWrapped(110))
	}
	fmt.Fprintf(w, "\nBenchmarks:\n")
	for i := range benchmarks {
		fmt.Fprintf(w, "  %-18s %s\n", benchmarks[i].name, benchmarks[i].about)
	}
	fmt.Fprintf(w, "\n%s\nExit codes: %d done, %d failed, %d usage, %d done but for rows whose engine was killed, %d interrupted.\n",
		columnHelp, exitOK, exitFailed, exitUsage, exitIncomplete, exitInterrupted)
	if runtime.GOOS != "linux" {
		fmt.Fprintf(w, "The machine's CPU, bytes at the disk, cold caches and --memory's limit are known on Linux only.\n")
	}
}

const columnHelp = `Columns:
  MB/s counts the bytes of keys and values. Latencies are of single operations, all threads together.
  cpu/op is CPU time of the engine's process and sys/op of the whole machine, in microseconds. Both include the work a
  row leaves behind: after the last operation the flush, the compactions and the kernel's write-back are waited for.
  A ratio is of ops/s, ours divided by the host's, and the median of the runs; cpu, p99.9 are the same of sys/op and p99.9.
  --bound: a durable write of one thread takes at best what the engine takes in RAM (ramfs) and what the device takes for
  a write and a flush (device), of which 1.10 are allowed. log sync is the mean time of the engine's calls that sync its log.
  lsm MB is what the LSM engine wrote in that time: log, flushes and compactions.
  disk MB is what the disk under the store wrote in that time, for whomever.
`
