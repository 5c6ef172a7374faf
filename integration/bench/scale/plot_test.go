package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
)

// TestPicture: figures that were written are read back, and make a picture that is
// well-formed, whatever is missing.
func TestPicture(t *testing.T) {
	path := filepath.Join(t.TempDir(), "figures.csv")
	out := &table{path: path}
	for _, f := range []figure{
		{1, "embedded", 100, "one", "ms last", 12},
		{1, "embedded", 1000, "one", "ms last", 140},
		{1, "embedded", 1000, "one", "ms last", 150},
		{1, "external", 1000, "idle", "etcd puts/s", 0.1},
		{3, "external", 5000, "memory", "RSS KiB/agent", 58},
	} {
		if err := out.add(f); err != nil {
			t.Fatal(err)
		}
	}
	figures, err := readTable(path)
	if err != nil || len(figures) != 5 {
		t.Fatalf("%d figures, %v", len(figures), err)
	}
	for _, some := range [][]figure{nil, figures[:1], figures} {
		var b bytes.Buffer
		if err := draw(&b, some); err != nil {
			t.Fatal(err)
		}
		d := xml.NewDecoder(strings.NewReader(b.String()))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
}
