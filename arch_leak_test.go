package hangar_test

import (
	"go/ast"
	"testing"
)

// TestEveryPackageLooksForLeaks (E13): no package's tests may leave a goroutine
// behind, so that what leaks is found where it is made and not after hours.
func TestEveryPackageLooksForLeaks(t *testing.T) {
	looks := map[string]bool{} // of every folder with tests
	for _, f := range goFiles(t) {
		if !f.test {
			continue
		}
		looks[f.dir] = looks[f.dir] || f.dir == leaktestDir // which calls itself by its bare name
		for _, decl := range f.tree.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Name.Name == "TestMain" && callsLeaktest(fn) {
				looks[f.dir] = true
			}
		}
	}
	for dir, ok := range looks {
		if !ok {
			t.Errorf("the tests of %s do not look for goroutines that they leave; end their TestMain with os.Exit(leaktest.Run(m))", dir)
		}
	}
}

const leaktestDir = "internal/leaktest"

// callsLeaktest tells whether a TestMain(m) has a call leaktest.Run(m, …).
func callsLeaktest(testMain *ast.FuncDecl) bool {
	found := false
	ast.Inspect(testMain, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Run" {
				pkg, ok := sel.X.(*ast.Ident)
				found = found || ok && pkg.Name == "leaktest"
			}
		}
		return true
	})
	return found
}
