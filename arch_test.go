package hangar_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// These tests are the law of the code's layout: who may import whom, and what
// the pure packages may not do. A failure prints why the rule is there. Change
// a rule here only together with ARCHITECTURE.md.

const (
	module       = "github.com/aabb9013/hangar"
	maxFileLines = 700
)

// layer says what the packages of one folder may import of this module. In
// `may`, "x" is one package and "x/..." a package with all below it; its own
// subtree is always allowed. The longest matching folder decides.
type layer struct {
	dir string
	may []string
	why string
}

var layers = []layer{
	{"cmd", []string{".", "internal/config", "internal/examplefleet", "internal/procs", "backends/docker", "internal/discovery/..."},
		"the command line uses the runtime as any embedder does: what it needs belongs into package hangar"},
	{"bench", []string{".", "internal/jsonrpc", "internal/testserver/..."},
		"benchmarks measure the whole as it is used; a part's benchmark stands beside the part"},
	{"e2e", []string{".", "internal/testserver/..."},
		"end-to-end tests know the program from outside only"},
	{"examples", []string{"."},
		"an example shows what anybody outside of this module can do"},
	{".", []string{"httpapi/...", "actors/...", "persistence/...", "supervisor/...", "backends/...", "internal/..."},
		"package hangar wires the parts and is wired into none"},
	{"httpapi", []string{"supervisor", "backends", "internal/jsonrpc", "internal/rawio", "internal/redact", "internal/mcp", "internal/auth", "internal/policy"},
		"the HTTP edge declares the Runtime it needs and knows neither actors nor storage, so that both can be replaced and faked"},
	{"actors", []string{"supervisor", "backends", "backends/link", "persistence", "internal/jsonrpc", "internal/redact", "internal/mcp"},
		"the shell carries out decisions of supervisor through the Backend contract; a concrete backend is handed to it"},
	{"persistence", []string{"supervisor"},
		"storage keeps plain records; it decides nothing and calls nobody"},
	{"supervisor", []string{"backends"},
		"decisions are pure: they know the contract's types and nothing that acts"},
	{"backends", []string{"backends", "backends/link", "internal/jsonrpc", "internal/rawio", "internal/limits"},
		"a backend knows processes and sockets, not policy: it starts, carries, stops and reports"},
	{"backends/subprocess", []string{"backends", "backends/link", "internal/jsonrpc", "internal/rawio", "internal/reaper", "internal/limits", "internal/procs"},
		"child processes are started by the reaper"},
	{"backends/backendtest", []string{"backends", "backends/link", "internal/jsonrpc", "internal/testserver/..."},
		"the suite of all backends needs the stub server besides"},
	{"internal", []string{"supervisor", "backends", "internal/jsonrpc", "internal/redact", "internal/mcp"},
		"internal packages are tools of the layers above and must not reach up"},
	{"internal/config", []string{"supervisor", "backends", "internal/jsonrpc", "internal/mcp", "internal/redact"},
		"as any internal package; what it writes for people hides secrets by the one rule"},
	{"internal/limits", []string{"backends"}, "limits of processes know the host and the types of the contract, no policy"},
	{"internal/reaper", []string{"backends", "internal/procs", "internal/limits"},
		"the reaper is a process of its own, of which every package it imports is resident memory"},
	{"internal/procs", nil, "what the kernel tells of processes is no business of any layer"},
	{"internal/rawio", nil, "a system call is no business of any layer"},
	{"internal/jsonrpc", nil, "the wire format is the lowest layer; everything may stand on it"},
	{"internal/redact", nil, "what hides secrets must be usable wherever text leaves the runtime"},
	{leaktestDir, nil, "the tests of every package use it, the lowest layer's too"},
	{"internal/testserver", nil, "the stub server must be independent of the code it tests"},
	{"internal/examplefleet", nil, "the example servers must be ordinary MCP servers that know nothing of the runtime"},
}

// optionalParts must be linked only by those who import them by name.
var optionalParts = []string{"backends/docker", "internal/discovery/docker", "internal/discovery/kubernetes"}

// fence says which folders may import a module from outside. Test files and
// the packages that only tests use may do so too if tests is set.
type fence struct {
	prefix string
	dirs   []string // nil: none; "..." : every one that may import from outside at all
	tests  bool
	why    string
}

var fences = []fence{
	{"github.com/asynkron/protoactor-go", []string{"actors"}, false,
		"the actor library stays behind our own thin package, so that it can be replaced"},
	{"github.com/valyala/fasthttp", []string{"httpapi", "bench"}, false,
		"fasthttp's memory dies with the handler; one package must guard the copies (bench drives load with its client)"},
	{"github.com/fasthttp/websocket", []string{"httpapi"}, true,
		"as fasthttp, whose connections it takes over; tests dial with its client"},
	{"github.com/fasthttp", []string{"httpapi", "bench"}, false, "as fasthttp itself"},
	{"github.com/dgraph-io/badger/v4", []string{"persistence"}, false,
		"the key layout and the durability rules stand in one package"},
	{"gopkg.in/yaml.v3", []string{"internal/config"}, true,
		"hostile YAML is refused in one place (bounds, aliases, duplicate keys)"},
	{"github.com/aymanbagabas/go-udiff", []string{"internal/config"}, true,
		"configurations are compared as text in one place, where secrets are hidden first"},
	{"github.com/fsnotify/fsnotify", []string{".", "internal/discovery"}, false,
		"files are watched by whoever owns the reload or the source"},
	{"github.com/santhosh-tekuri/jsonschema/v6", nil, true, "for tests only; its loader reads files unless told not to"},
	{"github.com/prometheus", []string{"httpapi"}, false, "metrics are read from views at the edge; nothing else may be slowed down or shaped by them"},
	{"github.com/spf13/cobra", []string{"cmd"}, false,
		"the command line is not part of what others embed"},
	{"github.com/spf13/pflag", []string{"cmd"}, false, "as cobra, whose flags these are"},
	{"github.com/modelcontextprotocol/go-sdk", []string{"internal/examplefleet", "examples", "backends/inprocess"}, true,
		"the SDK costs 100 kB and more per message: it serves tests, examples and attached servers, never the call path"},
	{"github.com/getkin/kin-openapi", nil, true, "the OpenAPI validator checks answers in tests; the program must not link it"},
	{"github.com/google/go-cmp", nil, true, "for tests only; it may panic by design"},
	{"go.uber.org/goleak", nil, true, "for tests only"},
	{"github.com/google/uuid", []string{"..."}, true, "random ids are made at the edges of the runtime"},
	{"golang.org/x/sys", []string{".", "cmd", "backends", "persistence", "internal", "bench"}, true,
		"system calls belong to processes, files and the program's start"},
}

// tellsProcessor is the one package from outside that those of stdlibOnly may
// import: it says what the processor can do, and nothing else.
const tellsProcessor = "golang.org/x/sys/cpu"

// stdlibOnly are the folders whose packages import nothing from outside.
var stdlibOnly = map[string]string{
	"supervisor":       "decisions must be readable and testable without knowing any library",
	"internal/jsonrpc": "the call path's innermost package must not hide its cost in a library",
	"internal/redact":  "what must not let a secret through must be readable as a whole",
}

// testSupport are the folders of packages that only tests and benchmarks use.
var testSupport = []string{"backends/backendtest", "persistence/storetest", leaktestDir, "internal/testserver", "e2e", "bench"}

// pureImports is all that package supervisor may use of the standard library:
// each has no clock, no chance, no I/O and no hidden state, but for clockCalls
// of package time. view.go has the live counters that readers see.
var (
	pureImports = []string{"cmp", "encoding/json", "errors", "fmt", "maps", "math", "slices", "strconv", "strings", "time", "unicode/utf8"}
	pureExcept  = map[string][]string{"supervisor/view.go": {"sync/atomic"}, "supervisor/event_counters.go": {"sync/atomic"}}
	clockCalls  = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}
)

// goFile is one parsed file; dir and path are relative to the module's root,
// with slashes.
type goFile struct {
	path, dir string
	test      bool
	lines     int
	fset      *token.FileSet
	tree      *ast.File
}

func (f goFile) at(n ast.Node) string { return f.fset.Position(n.Pos()).String() }

// imports calls yield for every import with its path.
func (f goFile) imports(yield func(spec *ast.ImportSpec, importPath string)) {
	for _, spec := range f.tree.Imports {
		if importPath, err := strconv.Unquote(spec.Path.Value); err == nil {
			yield(spec, importPath)
		}
	}
}

func goFiles(t *testing.T) []goFile {
	t.Helper()
	var files []goFile
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); name != "." && (strings.ContainsAny(base[:1], "._") || slices.Contains([]string{"testdata", "node_modules", "bin", "data"}, base)) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		source, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		f := goFile{path: filepath.ToSlash(name), test: strings.HasSuffix(name, "_test.go"), lines: bytes.Count(source, []byte("\n")), fset: token.NewFileSet()}
		f.dir = path.Dir(f.path)
		f.tree, err = parser.ParseFile(f.fset, name, source, parser.ParseComments)
		files = append(files, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// under tells whether dir is folder or below it; "." is only itself.
func under(dir, folder string) bool {
	return dir == folder || strings.HasPrefix(dir, folder+"/")
}

func underAny(dir string, folders []string) bool {
	return slices.ContainsFunc(folders, func(folder string) bool { return under(dir, folder) })
}

func layerOf(dir string) (layer, bool) {
	var best layer
	found := false
	for _, l := range layers {
		if under(dir, l.dir) && (!found || len(l.dir) > len(best.dir)) {
			best, found = l, true
		}
	}
	return best, found
}

func (l layer) allows(dir string) bool {
	if under(dir, l.dir) && l.dir != "." && l.dir != "internal" && l.dir != "backends" {
		return true
	}
	return slices.ContainsFunc(l.may, func(may string) bool {
		if tree, ok := strings.CutSuffix(may, "/..."); ok {
			return under(dir, tree)
		}
		return dir == may
	})
}

// ownDir is the folder of an import of this module.
func ownDir(importPath string) (string, bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

func TestImportsPointDown(t *testing.T) {
	for _, f := range goFiles(t) {
		l, known := layerOf(f.dir)
		if !known {
			t.Errorf("%s: folder %s has no place in the layout; give it a row in layers and in ARCHITECTURE.md", f.path, f.dir)
			continue
		}
		f.imports(func(spec *ast.ImportSpec, importPath string) {
			dir, own := ownDir(importPath)
			switch {
			case !own:
			case f.test:
				// A test may use any tool below the root; the root only where
				// it is allowed anyhow.
				if dir == "." && f.dir != "." && !l.allows(".") {
					t.Errorf("%s: a test of %s imports the root package; why not: what needs the whole belongs into e2e", f.at(spec), f.dir)
				}
			case underAny(dir, testSupport) && !underAny(f.dir, testSupport):
				t.Errorf("%s: %s imports %s, which is for tests and benchmarks", f.at(spec), f.dir, dir)
			case f.dir == "." && underAny(dir, optionalParts):
				t.Errorf("%s: the root imports %s; why not: an embedder who does not use this part must not link it", f.at(spec), dir)
			case !l.allows(dir) && !ownSubtree(f.dir, dir):
				t.Errorf("%s: %s imports %s; why not: %s", f.at(spec), f.dir, dir, l.why)
			}
		})
	}
}

// ownSubtree allows a package of internal/ or backends/ what belongs to the
// same member of that folder: internal/config to import internal/config/x.
func ownSubtree(from, to string) bool {
	member := func(dir string) string {
		parts := strings.SplitN(dir, "/", 3)
		return strings.Join(parts[:min(2, len(parts))], "/")
	}
	return strings.Contains(from, "/") && member(from) == member(to)
}

func TestOutsideModulesStayBehindTheirFences(t *testing.T) {
	for _, f := range goFiles(t) {
		forTests := f.test || underAny(f.dir, testSupport)
		f.imports(func(spec *ast.ImportSpec, importPath string) {
			if _, own := ownDir(importPath); own || !strings.Contains(strings.SplitN(importPath, "/", 2)[0], ".") {
				return
			}
			for folder, why := range stdlibOnly {
				if under(f.dir, folder) && !f.test && importPath != tellsProcessor {
					t.Errorf("%s: %s imports %s; why not: %s", f.at(spec), f.dir, importPath, why)
				}
			}
			i := slices.IndexFunc(fences, func(fc fence) bool { return under(importPath, fc.prefix) })
			if i < 0 {
				t.Errorf("%s: %s imports %s, which has no fence; say in fences where it may be used and why the project needs it", f.at(spec), f.dir, importPath)
				return
			}
			fc := fences[i]
			if forTests && fc.tests || slices.Contains(fc.dirs, "...") || underAny(f.dir, fc.dirs) {
				return
			}
			t.Errorf("%s: %s imports %s; why not: %s", f.at(spec), f.dir, importPath, fc.why)
		})
	}
}

func TestSupervisorIsPure(t *testing.T) {
	const why = "Step must give the same answer for the same input, so that every decision can be tested, replayed and explained; the clock and chance are arguments"
	for _, f := range goFiles(t) {
		if f.test || !under(f.dir, "supervisor") {
			continue
		}
		names := map[string]string{} // name in this file → import path
		f.imports(func(spec *ast.ImportSpec, importPath string) {
			name := path.Base(importPath)
			if spec.Name != nil {
				name = spec.Name.Name
			}
			names[name] = importPath
			_, own := ownDir(importPath) // TestImportsPointDown says which
			if !own && !slices.Contains(pureImports, importPath) && !slices.Contains(pureExcept[f.path], importPath) {
				t.Errorf("%s: supervisor imports %s; why not: %s", f.at(spec), importPath, why)
			}
		})
		ast.Inspect(f.tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt, *ast.SelectStmt, *ast.SendStmt:
				t.Errorf("%s: supervisor uses goroutines or channels; why not: %s", f.at(n), why)
			case *ast.SelectorExpr:
				if pkg, ok := n.X.(*ast.Ident); ok && names[pkg.Name] == "time" && slices.Contains(clockCalls, n.Sel.Name) {
					t.Errorf("%s: supervisor uses %s.%s; why not: %s", f.at(n), pkg.Name, n.Sel.Name, why)
				}
			}
			return true
		})
	}
}

func TestNoFileIsTooLongToRead(t *testing.T) {
	for _, f := range goFiles(t) {
		if !f.test && f.lines > maxFileLines {
			t.Errorf("%s has %d lines; split it by idea: at most %d, and a good one has about 120", f.path, f.lines, maxFileLines)
		}
	}
}

func TestEveryPackageTellsItsStory(t *testing.T) {
	documented := map[string]bool{}
	for _, f := range goFiles(t) {
		if f.dir == "." && f.test {
			continue
		}
		documented[f.dir] = documented[f.dir] || f.tree.Doc != nil
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("package in %s has no package comment; say in one file (doc.go if it is long) what it is for and in which order to read it", dir)
		}
	}
}

func TestNoInitFunctions(t *testing.T) {
	for _, f := range goFiles(t) {
		for _, decl := range f.tree.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: init function; why not: what runs before main cannot be ordered, configured or tested", f.at(fn))
			}
		}
	}
}

// hostsBusiness is what belongs to the program and not to a package that it
// embeds: the host's signals, directory, environment, exit and global state.
var hostsBusiness = map[string][]string{
	"os":        {"Exit", "Chdir", "Setenv", "Unsetenv", "Clearenv"},
	"os/signal": {"*"},
	"flag":      {"*"},
	"log":       {"*"},
	"log/slog":  {"SetDefault", "SetLogLoggerLevel"},
	"net/http":  {"DefaultServeMux", "Handle", "HandleFunc"},
}

func TestEmbeddedPackagesLeaveTheirHostAlone(t *testing.T) {
	programs := append([]string{"cmd", "examples", "internal/examplefleet", "internal/reaper"}, testSupport...)
	for _, f := range goFiles(t) {
		if f.test || underAny(f.dir, programs) || strings.HasPrefix(f.dir, ".") && f.dir != "." {
			continue
		}
		names := map[string]string{}
		f.imports(func(spec *ast.ImportSpec, importPath string) {
			names[path.Base(importPath)] = importPath
			if slices.Contains(hostsBusiness[importPath], "*") {
				t.Errorf("%s: %s imports %s; why not: that is the business of the program which embeds the runtime", f.at(spec), f.dir, importPath)
			}
		})
		ast.Inspect(f.tree, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if pkg, ok := sel.X.(*ast.Ident); ok && slices.Contains(hostsBusiness[names[pkg.Name]], sel.Sel.Name) {
				t.Errorf("%s: %s uses %s.%s; why not: that is the business of the program which embeds the runtime", f.at(n), f.dir, pkg.Name, sel.Sel.Name)
			}
			return true
		})
	}
}

// TestArchitectureIsTrue holds the map to the land: files that it names are
// there, and every direct dependency has its line of reason.
func TestArchitectureIsTrue(t *testing.T) {
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range strings.Split(string(text), "`") {
		if strings.HasSuffix(word, ".go") && !strings.ContainsAny(word, " *\n") {
			if _, err := os.Stat(word); err != nil {
				t.Errorf("ARCHITECTURE.md names %s: %v", word, err)
			}
		}
	}
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mod)) {
		fields := strings.Fields(line)
		if len(fields) != 2 || !strings.HasPrefix(fields[1], "v") || fields[0] == "go" {
			continue // no requirement, or an indirect one
		}
		name := strings.TrimPrefix(strings.TrimPrefix(fields[0], "github.com/"), "go.uber.org/")
		if !strings.Contains(string(text), name) {
			t.Errorf("ARCHITECTURE.md has no line of reason for %s", fields[0])
		}
	}
}
