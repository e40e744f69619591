package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../.."

// TestImportTable holds every file that is not a test to the table of layers, on every platform.
func TestImportTable(t *testing.T) {
	n := 0
	eachFile(t, func(path string, file *ast.File, fset *token.FileSet) {
		if isTest(path) {
			return
		}
		n++
		folder := filepath.ToSlash(filepath.Dir(path))
		r := ruleFor(folder)
		if r == nil {
			t.Errorf("%s: folder is not in the import table", path)
			return
		}
		for _, imp := range file.Imports {
			name, err := strconv.Unquote(imp.Path.Value)
			require.NoError(t, err)
			if name != module+"/"+folder && !r.allows(name) {
				t.Errorf("%s: %s may not import %s", fset.Position(imp.Pos()), folder, name)
			}
		}
	})
	require.Greater(t, n, 20, "the walk found too few files to be right")
}

// TestReserved holds every file to the modules that are reserved for one folder.
func TestReserved(t *testing.T) {
	eachFile(t, func(path string, file *ast.File, fset *token.FileSet) {
		for _, imp := range file.Imports {
			name, err := strconv.Unquote(imp.Path.Value)
			require.NoError(t, err)
			if isReserved(name, filepath.ToSlash(filepath.Dir(path))) {
				t.Errorf("%s: %s is reserved for another folder", fset.Position(imp.Pos()), name)
			}
		}
	})
	require.True(t, isReserved(sqlite+"/vfs", "cmd/kvbench"))
	require.True(t, isReserved(goleveldb, "internal/hist"))
	require.False(t, isReserved(goleveldb, "internal/judges/goleveldb"))
	require.False(t, isReserved(pebble, "kv"))
}

// TestTableRefuses proves that the table can fail.
func TestTableRefuses(t *testing.T) {
	for folder, bad := range map[string]string{
		"blobstore":   module + "/bdev/aiobdev",
		"blobfs":      module + "/vfsadapter",
		"kv":          module + "/bdev/mallocbdev",
		"bdev":        pebble,
		"reactor":     module + "/bdev",
		"internal":    "github.com/spf13/cobra",
		"cmd/blobcli": pebble,
	} {
		require.False(t, ruleFor(folder).allows(bad), "%s must not import %s", folder, bad)
	}
	require.True(t, isReserved(fuse+"/fs", "cmd/kvbench"))
	require.False(t, isReserved(fuse+"/fs", fuseMount))
	require.True(t, ruleFor("bdev/open").allows(module+"/bdev/aiobdev"))
	require.Nil(t, ruleFor("toplevel"))
}

// banned lists calls that libraries never make, with what to use instead.
var banned = []struct{ call, instead string }{
	{"log.Fatal", "return an error"},
	{"log.Print", "take a logger from the options"},
	{"fmt.Print", "return the text or take an io.Writer"},
	{"os.Exit", "return an error"},
}

// TestBannedCalls keeps libraries from printing and exiting.
func TestBannedCalls(t *testing.T) {
	eachFile(t, func(path string, file *ast.File, fset *token.FileSet) {
		if isTest(path) || file.Name.Name == "main" || strings.HasPrefix(filepath.ToSlash(path), "cmd/") {
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			pkg, ok := sel.X.(*ast.Ident)
			if !ok {
				return true
			}
			for _, b := range banned {
				if strings.HasPrefix(pkg.Name+"."+sel.Sel.Name, b.call) {
					t.Errorf("%s: %s.%s: %s", fset.Position(n.Pos()), pkg.Name, sel.Sel.Name, b.instead)
				}
			}
			return true
		})
	})
}

var leftover = regexp.MustCompile(`//.*\b(` + "TO" + `DO|` + "FIX" + `ME|` + "XX" + `X)\b`)

// TestNothingLeftOver finds the marks of unfinished work.
func TestNothingLeftOver(t *testing.T) {
	eachFile(t, func(path string, _ *ast.File, _ *token.FileSet) {
		text, err := os.ReadFile(filepath.Join(root, path))
		require.NoError(t, err)
		for i, line := range strings.Split(string(text), "\n") {
			if leftover.MatchString(line) {
				t.Errorf("%s:%d: left over: %s", path, i+1, strings.TrimSpace(line))
			}
		}
	})
}

// TestPackagesHaveDocs wants a package comment in every package.
func TestPackagesHaveDocs(t *testing.T) {
	documented := map[string]bool{}
	eachFile(t, func(path string, file *ast.File, _ *token.FileSet) {
		if !isTest(path) {
			documented[filepath.Dir(path)] = documented[filepath.Dir(path)] || file.Doc != nil
		}
	})
	for folder, ok := range documented {
		if !ok {
			t.Errorf("%s: no package comment (doc.go)", folder)
		}
	}
}

func isTest(path string) bool { return strings.HasSuffix(path, "_test.go") }

// eachFile parses every Go file of the module, whatever its build constraints.
func eachFile(t *testing.T, visit func(path string, file *ast.File, fset *token.FileSet)) {
	t.Helper()
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && len(d.Name()) > 2 || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		visit(rel, file, fset)
		return nil
	})
	require.NoError(t, err)
}
