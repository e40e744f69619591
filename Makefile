# Bare `make` prints this usage.
GO        ?= go
STATIC     = $(GO) tool -modfile=internal/tools/go.mod staticcheck
PLATFORMS  = linux/amd64 linux/arm64 darwin/arm64 windows/amd64
FUZZTIME  ?= 10s
JUDGES     = internal/judges
CUTS      ?= 1000
SEEDS     ?= 200

SEED      ?= 0
N         ?= 100000

# Of make figures: medians of so many runs, under a folder of the disk that is measured, with so much memory and four
# times as much data.
RUNS       ?= 5
FIGURES    ?= /var/tmp
MEMORY     ?= 224MiB
FIGURESDIR  = $(FIGURES)/kvbench-figures
KVBENCH     = bin/kvbench --vs hostfs --runs $(RUNS)
SYNCED      = --benchmarks fillsync --write_buffer_size 1MiB --log_rotations 8 --bound
# A row whose engine was killed by its memory limit says so and ends nothing.
KILLED      = || test $$? -eq 3
DATA        = --device aio:$(FIGURESDIR)/data.img --memory $(MEMORY) --write_buffer_size 4MiB --value_size 400 --data_over_memory 4

.PHONY: help build test race lint bench figures fuzz stress stress-crash stress-judges stress-metamorphic crash test-nvme test-nvme-full bench-nvme clean

help:
	@echo "make build   compile the commands into bin/"
	@echo "make test    run every test: crash simulation, metamorphic tests, lint of the layers, SQLite and goleveldb as judges;"
	@echo "             at the end what was skipped and why, and how many power cuts and failing I/Os were tried"
	@echo "make race    the same under the race detector and with the invariants tag"
	@echo "make lint    gofmt, vet, staticcheck, import table, compile for $(PLATFORMS)"
	@echo "make stress  cut the power everywhere in every sequence of two operations, N ($(N)) times at random, CUTS ($(CUTS)) times under each judge;"
	@echo "             SEEDS ($(SEEDS)) runs of Pebble's metamorphic test with and without crashes; SEED=7 makes each of these begin there"
	@echo "make crash N=100000 [SEED=7]   cut the power N times at random; Ctrl-C stops"
	@echo "make test-nvme       the NVMe driver on QEMU's controller, 13 machines; installs what it needs when run as root (test-nvme-full: all)"
	@echo "make bench-nvme      measures it there beside the kernel's driver; takes about 10 minutes"
	@echo "make bench   Go benchmarks of every package"
	@echo "make figures [RUNS=5] [FIGURES=DIR]   the figures of docs/performance.md against Pebble on the host's file systems, in about 40 minutes"
	@echo "make fuzz    run every fuzz target for FUZZTIME ($(FUZZTIME)) each"
	@echo "make clean   remove bin/ and the test cache"

build:
	$(GO) build -o bin/ ./cmd/...

test:
	GO=$(GO) $(GO) run ./internal/testreport ./... -- -C $(JUDGES) ./...

race:
	$(GO) test -race -short -tags invariants ./...
	$(GO) -C $(JUDGES) test -race -short -tags invariants ./...

lint:
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "gofmt: $$unformatted"; exit 1; fi
	$(GO) mod tidy -diff
	$(GO) vet ./...
	$(STATIC) ./...
	$(GO) -C $(JUDGES) mod tidy -diff
	$(GO) -C $(JUDGES) vet ./...
	$(GO) -C $(JUDGES) tool -modfile=../tools/go.mod staticcheck ./...
	$(GO) test ./internal/lint
	@for p in $(PLATFORMS); do \
		echo "build $$p"; \
		CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) build ./... || exit 1; \
	done

stress: stress-crash stress-metamorphic stress-judges

stress-crash:
	$(GO) run ./cmd/crashsim -sequences 2 -seed $(SEED)
	$(GO) run ./cmd/crashsim -cuts $(N) -seed $(SEED)

# Boots virtual machines one after the other, each with a bound on its time. Fails where it cannot, and says what is missing.
test-nvme:
	NVME_QEMU=pairwise $(GO) test -count=1 -timeout 10m -v ./nvme/qemu

test-nvme-full:
	NVME_QEMU=full $(GO) test -count=1 -timeout 2h -v ./nvme/qemu

# Prints tables and asserts nothing about time. Reads differ by a third from run to run: the ratios are of one run.
bench-nvme:
	NVME_QEMU=bench $(GO) test -count=1 -timeout 20m -run TestBench -v ./nvme/qemu

crash:
	@$(GO) run ./cmd/crashsim -cuts $(N) -seed $(SEED)

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./...
	$(GO) -C $(JUDGES) test -run '^$$' -bench . -benchtime 3x ./...

# The rows say what they are; the whole output belongs to a figure. Without root there is no second host.
figures: build
	@rm -rf $(FIGURESDIR) && mkdir -p $(FIGURESDIR)
	@echo "== 1 of 7: durable writes, one thread and sixteen"
	$(KVBENCH) --device aio:$(FIGURESDIR)/sync.img $(SYNCED) --threads 1,16 --keep=false $(KILLED)
	@echo "== 2 of 7: the same on loop devices, the host's with a journaled ext4"
	@if [ $$(id -u) -ne 0 ]; then echo "skipped: needs root"; else set -x; \
		$(subst --vs hostfs,--vs hostfs:$(FIGURESDIR),$(KVBENCH)) --loop 1GiB $(SYNCED) --threads 1,16 $(KILLED); fi
	@echo "== 3 of 7: durable writes beside compactions, small files"
	$(KVBENCH) --device aio:$(FIGURESDIR)/sync.img --benchmarks fillsyncwhilecompacting --duration 10s --keep=false $(KILLED)
	$(KVBENCH) --device aio:$(FIGURESDIR)/sync.img --benchmarks smallfiles --value_size 4096 --num 20000 --keep=false $(KILLED)
	@echo "== 4 of 7: writes with data 4x memory"
	$(KVBENCH) $(DATA) --benchmarks fillrandom,overwrite --duration 6s $(KILLED)
	@echo "== 5 of 7: random reads of it"
	$(KVBENCH) $(DATA) --benchmarks readrandom --use_existing_db --threads 1,4,64 $(KILLED)
	@echo "== 6 of 7: reads beside a writer"
	$(KVBENCH) $(DATA) --benchmarks readwhilewriting --use_existing_db --threads 4 --benchmark_write_rate_limit 2MiB $(KILLED)
	@echo "== 7 of 7: scans"
	$(KVBENCH) $(DATA) --benchmarks readseq,seekrandom --use_existing_db $(KILLED)
	rm -r $(FIGURESDIR)

fuzz:
	@$(GO) list ./... | while read -r pkg; do \
		for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "$$pkg $$f"; \
			$(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
		done; \
	done

# A long run of another part of the project is one more target here. -p 1 shows the output while it comes.
stress-judges:
	JUDGES_CUTS=$(CUTS) $(GO) -C $(JUDGES) test -p 1 -count=1 -timeout 4h -v -run PowerCuts ./...

# Prints how to run each seed again before it starts, and how many have passed. A seed that fails is told at the end.
stress-metamorphic:
	BLOBKV_SEEDS=$(SEEDS) BLOBKV_SEED=$(SEED) $(GO) test -count=1 -timeout 4h -v -run '^TestMetamorphic' ./vfsadapter

clean:
	rm -rf bin
	$(GO) clean -testcache
