package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/weft-net/weft/cmd/weft/internal/document"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// maxFiles is a bound on what -f and -R take in one go.
const maxFiles = 10_000

// files is -f and -R.
type files struct {
	paths     []string
	recursive bool
}

func (f *files) flags(cmd *cobra.Command) {
	cmd.Flags().StringSliceVarP(&f.paths, "filename", "f", nil, "file, folder (*.yaml, *.yml, *.json), or - for standard input")
	cmd.Flags().BoolVarP(&f.recursive, "recursive", "R", false, "folders below a folder too")
}

// read reads all documents, in the order of the files. One object named twice
// is refused: which of the two was meant?
func (f *files) read(c *cli) ([]document.Document, error) {
	if len(f.paths) == 0 {
		return nil, errors.New("which file? write -f FILE, -f FOLDER or -f -")
	}
	var docs []document.Document
	first := map[string]document.Document{}
	for _, path := range f.paths {
		found, err := f.open(c, path)
		if err != nil {
			return nil, err
		}
		for _, d := range found {
			if other, ok := first[d.Name()]; ok {
				return nil, fmt.Errorf("%s is there twice: %s and %s", d.Name(), other.Place(), d.Place())
			}
			first[d.Name()] = d
		}
		docs = append(docs, found...)
	}
	if len(docs) == 0 {
		return nil, fmt.Errorf("no objects in %s", strings.Join(f.paths, ", "))
	}
	if len(docs) > document.MaxDocuments {
		return nil, fmt.Errorf("more than %d objects; split them", document.MaxDocuments)
	}
	return docs, nil
}

func (f *files) open(c *cli, path string) ([]document.Document, error) {
	if path == "-" {
		return document.Read("standard input", c.in)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return readFile(path)
	}
	inside, err := f.folder(path)
	if err != nil {
		return nil, err
	}
	var docs []document.Document
	for _, p := range inside {
		found, err := readFile(p)
		if err != nil {
			return nil, err
		}
		docs = append(docs, found...)
	}
	return docs, nil
}

func readFile(path string) ([]document.Document, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return document.Read(path, file)
}

// folder lists a folder's documents, sorted.
func (f *files) folder(root string) ([]string, error) {
	var out []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && !f.recursive:
			return fs.SkipDir
		case d.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)):
			return nil
		case len(out) == maxFiles:
			return fmt.Errorf("%s: more than %d files; split them", root, maxFiles)
		}
		out = append(out, path)
		return nil
	})
	return out, err
}

// resourcesOf are the objects to send.
func resourcesOf(docs []document.Document) []*weftv1.Resource {
	var out []*weftv1.Resource
	for _, d := range docs {
		out = append(out, d.Resource)
	}
	return out
}

// dryRun is --dry-run=server, kubectl's spelling; bare it means server too.
type dryRun bool

func (d *dryRun) flag(cmd *cobra.Command) {
	cmd.Flags().Var(d, "dry-run", "server: let the server check everything and write nothing")
	cmd.Flags().Lookup("dry-run").NoOptDefVal = "server"
}

// String implements pflag.Value.
func (d *dryRun) String() string {
	if *d {
		return "server"
	}
	return "none"
}

// Type implements pflag.Value.
func (d *dryRun) Type() string { return "where" }

// Set implements pflag.Value.
func (d *dryRun) Set(s string) error {
	switch s {
	case "server":
		*d = true
	case "none":
		*d = false
	default:
		return errors.New("write --dry-run=server; only the server knows what is accepted")
	}
	return nil
}
