package schema

import (
	"bufio"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		found int
		want  string
	}{
		{1, ""},
		{2, "D/f has schema 2, and this release (0.1.0-dev) reads up to 1: run the newer release again, or put back the backup of before the upgrade; nothing was changed"},
		{0, "D/f carries schema 0, and there is none below 1"},
		{-3, "D/f carries schema -3, and there is none below 1"},
	} {
		err := AgentFolder.Check("D/f", c.found)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("schema %d: %q, want %q", c.found, got, c.want)
		}
		if newer := errors.As(err, new(Newer)); newer != (c.found > 1) {
			t.Errorf("schema %d: newer %v", c.found, newer)
		}
	}
}

// The table in the documentation is this one.
func TestDocumentation(t *testing.T) {
	f, err := os.Open("../../deploy/operating/versions.md")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var got []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		cells := strings.Split(lines.Text(), "|")
		if len(cells) != 5 {
			continue
		}
		if _, err := strconv.Atoi(strings.TrimSpace(cells[3])); err == nil && strings.HasPrefix(cells[1], " `") {
			got = append(got, strings.TrimSpace(strings.Join(cells[1:4], "|")))
		}
	}
	var want []string
	for _, f := range Formats() {
		want = append(want, "`"+f.Where()+"` | "+f.String()+" | "+strconv.Itoa(f.Version()))
	}
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("deploy/operating/versions.md has\n%s\nwant\n%s", g, w)
	}
}
