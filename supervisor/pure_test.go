package supervisor

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// pureImports is all the package may use; each has no clock, no I/O and no
// hidden state as far as the functions below are not called.
var pureImports = []string{"cmp", "encoding/json", "errors", "fmt", "maps", "math", "slices", "strconv", "strings", "time", "unicode/utf8"}

var clockCalls = []string{"Now", "Since", "Until", "After", "AfterFunc", "Sleep", "Tick", "NewTimer", "NewTicker"}

func TestPackageHasNoClockGoroutineOrIO(t *testing.T) {
	t.Parallel()
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	// view.go holds what readers see of a server: live counters, and contract
	// types of backends.
	allowed := map[string][]string{"view.go": {"sync/atomic", "github.com/aabb9013/hangar/backends"}, "limits.go": {"github.com/aabb9013/hangar/backends"}}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, f.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, imported := range file.Imports {
			if path, _ := strconv.Unquote(imported.Path.Value); !slices.Contains(pureImports, path) && !slices.Contains(allowed[f.Name()], path) {
				t.Errorf("%s imports %s", f.Name(), path)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt, *ast.SelectStmt, *ast.SendStmt:
				t.Errorf("%v: goroutines and channels are the shell's", fset.Position(n.Pos()))
			case *ast.SelectorExpr:
				if pkg, ok := n.X.(*ast.Ident); ok && pkg.Name == "time" && slices.Contains(clockCalls, n.Sel.Name) {
					t.Errorf("%v: time.%s: the time comes in with Env", fset.Position(n.Pos()), n.Sel.Name)
				}
			}
			return true
		})
	}
}
