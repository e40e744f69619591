package lint

import "strings"

const module = "github.com/blobkv/blobkv"

// rule says what the packages under one folder may import besides the standard library, x/sys and internal/*.
type rule struct {
	folder string   // relative to the module root, matches the folder and everything below it
	allow  []string // module-relative folders ("bdev/*": one level below) or full paths of other modules
}

// importTable is the table of layers, first match wins, so the more special folder stands first. It binds the files
// that are not tests; tests may reach for simulators and conformance suites.
var importTable = []rule{
	{fuseMount, []string{"blobfs", fuse + "/fs", fuse + "/fuse"}},
	{"cmd/blobcli", []string{"blobfs", "blobstore", "bdev", "bdev/open", "nvme", "nvme/*", fuseMount, "github.com/spf13/cobra", "golang.org/x/term"}},
	{"cmd", []string{"*"}},
	{"kv", []string{"vfsadapter", "blobfs", "blobstore", "bdev", "bdev/open", pebble, pebble + "/bloom", pebble + "/sstable"}},
	{"vfsadapter", []string{"blobfs", pebble + "/vfs"}},
	{"blobfs/crashsim", []string{"blobfs", "blobstore", "bdev", "bdev/crashbdev", "bdev/faultbdev"}},
	{"blobfs", []string{"blobstore"}},
	{"blobstore", []string{"bdev"}},
	{"bdev/open", []string{"bdev", "bdev/*", "nvme/connect"}},
	{"bdev/bdevtest", []string{"bdev", testify}},
	{"bdev/nvmebdev", []string{"bdev", "reactor", "nvme", "nvme/*"}},
	{"bdev", []string{"bdev", "reactor"}},
	{"nvme/spec", nil},
	{"nvme/nvmetest", []string{"nvme", "nvme/spec", testify}},
	{"nvme/connect", []string{"nvme", "nvme/vfio", "nvme/vfiouser"}},
	{"nvme/vfiouser/wire", nil},
	{"nvme/vfiouser", []string{"nvme", "nvme/spec", "nvme/softctrl", "nvme/vfiouser/wire"}},
	{"nvme", []string{"nvme", "nvme/spec"}},
	{"reactor", []string{"reactor"}},
	{"internal/judges", []string{"blobfs", "blobstore", "bdev", "bdev/*", sqlite, sqlite + "/vfs", goleveldb + "/storage", testify}},
	{"internal", nil},
}

// reserved lists modules that one folder alone may import, in tests too: everybody else would make them a dependency of
// those who embed the store.
var reserved = map[string]string{
	sqlite:    "internal/judges",
	goleveldb: "internal/judges",
	fuse:      fuseMount,
}

const (
	pebble    = "github.com/cockroachdb/pebble/v2"
	testify   = "github.com/stretchr/testify/require"
	sqlite    = "github.com/ncruces/go-sqlite3"
	goleveldb = "github.com/syndtr/goleveldb/leveldb"
	fuse      = "github.com/hanwen/go-fuse/v2"
	fuseMount = "cmd/blobcli/internal/fusemount"
)

// isReserved says whether a package belongs to a folder that the importing one is not part of.
func isReserved(path, folder string) bool {
	for root, owner := range reserved {
		if within(path, root) && !within(folder, owner) {
			return true
		}
	}
	return false
}

// within says whether a path is the root or below it.
func within(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }

// ruleFor returns the rule of a folder, nil when the table does not name it.
func ruleFor(folder string) *rule {
	for i := range importTable {
		if r := &importTable[i]; within(folder, r.folder) {
			return r
		}
	}
	return nil
}

// allows says whether the rule lets a package in.
func (r *rule) allows(path string) bool {
	if path == "golang.org/x/sys" || strings.HasPrefix(path, "golang.org/x/sys/") || isStandard(path) {
		return true
	}
	local, ours := strings.CutPrefix(path, module+"/")
	if ours && strings.HasPrefix(local, "internal/") {
		return true
	}
	for _, a := range r.allow {
		if a == "*" || a == path || (ours && matches(a, local)) {
			return true
		}
	}
	return false
}

func matches(pattern, folder string) bool {
	if parent, ok := strings.CutSuffix(pattern, "/*"); ok {
		rest, under := strings.CutPrefix(folder, parent+"/")
		return under && !strings.Contains(rest, "/")
	}
	return pattern == folder
}

// isStandard tells the standard library by its first element, which has no dot.
func isStandard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}
