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

.PHONY: help build test race lint bench fuzz stress stress-crash stress-judges stress-metamorphic crash test-nvme test-nvme-full clean

help:
	@echo "make build   compile the commands into bin/"
	@echo "make test    run every test: crash simulation, metamorphic tests, lint of the layers, SQLite and goleveldb as judges"
	@echo "make race    the same under the race detector and with the invariants tag"
	@echo "make lint    gofmt, vet, staticcheck, import table, compile for $(PLATFORMS)"
	@echo "make stress  cut the power everywhere in every sequence of two operations, N ($(N)) times at random, CUTS ($(CUTS)) times under each judge;"
	@echo "             SEEDS ($(SEEDS)) runs of Pebble's metamorphic test with and without crashes; SEED=7 makes each of these begin there"
	@echo "make crash N=100000 [SEED=7]   cut the power N times at random; Ctrl-C stops"
	@echo "make test-nvme       the NVMe driver on QEMU's controller, 12 machines; installs what it needs when run as root (test-nvme-full: all)"
	@echo "make bench   Go benchmarks of every package"
	@echo "make fuzz    run every fuzz target for FUZZTIME ($(FUZZTIME)) each"
	@echo "make clean   remove bin/ and the test cache"

build:
	$(GO) build -o bin/ ./cmd/...

test:
	$(GO) test $$($(GO) list ./... | grep -v /crashsim$$)
	$(GO) test -v ./cmd/crashsim ./blobfs/crashsim
	$(GO) -C $(JUDGES) test ./...

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

crash:
	@$(GO) run ./cmd/crashsim -cuts $(N) -seed $(SEED)

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./...
	$(GO) -C $(JUDGES) test -run '^$$' -bench . -benchtime 3x ./...

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
