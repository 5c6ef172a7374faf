package table

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour:                     "0s",
		45*time.Second + 999*ms:        "45s",
		119 * time.Second:              "119s",
		130 * time.Second:              "2m10s",
		5 * time.Minute:                "5m",
		15*time.Minute + 5*time.Second: "15m",
		3*time.Hour + 12*time.Minute:   "3h12m",
		26 * time.Hour:                 "26h",
		3*day + 4*time.Hour:            "3d4h",
		41 * day:                       "41d",
		(2*365 + 31) * day:             "2y31d",
		9 * 365 * day:                  "9y",
	} {
		if got := Age(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		-time.Hour: "0 s", 119 * time.Second: "119 s", 130 * time.Second: "2 min", 6*time.Hour + 59*time.Minute: "6 h", 47 * time.Hour: "47 h", 12*day + 5*time.Hour: "12 d",
	} {
		if got := Coarse(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
	if got := Since(0, time.Now()); got != "-" {
		t.Errorf("unknown: %s", got)
	}
}

const (
	ms  = time.Millisecond
	day = 24 * time.Hour
)

func TestText(t *testing.T) {
	tab := Table{Titles: []string{"NODE", "PROBLEM", "DO"}}
	tab.Add("n7", "Docker drops\n(chain FORWARD)", "look")
	tab.Add("köln", "", "")
	want := "NODE  PROBLEM          DO\n" +
		"n7    Docker drops     look\n" +
		"      (chain FORWARD)\n" +
		"köln  -                -\n"
	if diff := cmp.Diff(want, tab.Text(false)); diff != "" {
		t.Error(diff)
	}
	tab.Paint = func(title, cell string) string { return title[:1] + "<" + cell + ">" }
	want = "N<n7>    P<Docker drops>     D<look>\n" +
		"      P<(chain FORWARD)>\n" +
		"N<köln>  P<->                D<->\n"
	if diff := cmp.Diff(want, tab.Text(true)); diff != "" {
		t.Error("colours move columns:\n" + diff)
	}
}

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		in    string
		width int
		want  string
	}{
		{"one two three", 8, "one two\nthree"},
		{"one two\nthree", 80, "one two\nthree"},
		{"unbreakable", 4, "unbreakable"},
		{"as  it is", 0, "as  it is"},
		{"äöü äöü", 3, "äöü\näöü"},
	} {
		if got := Wrap(c.in, c.width); got != c.want {
			t.Errorf("%q in %d: %q, want %q", c.in, c.width, got, c.want)
		}
	}
}
