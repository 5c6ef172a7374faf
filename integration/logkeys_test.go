package integration

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// firstKey is where keys of slog's methods begin.
var firstKey = map[string]int{
	"Debug": 1, "Info": 1, "Warn": 1, "Error": 1, "With": 0,
	"DebugContext": 2, "InfoContext": 2, "WarnContext": 2, "ErrorContext": 2,
}

// One search finds one fact everywhere, because keys are written in one place.
func TestLogKeysAreFromTheDictionary(t *testing.T) {
	files := token.NewFileSet()
	seen := 0
	for _, root := range []string{"agent", "server", "cmd", "proto"} {
		err := filepath.WalkDir(filepath.Join("..", root), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			f, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			for n := range ast.Preorder(f) {
				for _, key := range keys(n) {
					seen++
					if lit, ok := key.(*ast.BasicLit); ok {
						t.Errorf("%v: key %s is not from package note", files.Position(lit.Pos()), lit.Value)
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if seen < 50 {
		t.Errorf("only %d keys found: the test no longer knows a logger when it sees one", seen)
	}
}

// keys are the keys of a call of a logger: a variable or field named log or Log.
func keys(n ast.Node) (keys []ast.Expr) {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return nil
	}
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return nil
	}
	first, ok := firstKey[method.Sel.Name]
	if !ok || !strings.EqualFold(last(method.X), "log") {
		return nil
	}
	for i := first; i < len(call.Args); i += 2 {
		keys = append(keys, call.Args[i])
	}
	return keys
}

// last is the last name of a selection such as u.cfg.Log.
func last(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}
