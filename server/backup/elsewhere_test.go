package backup

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestLatestAmongServers(t *testing.T) {
	f := newFabric(t, "n1 10.42.0.0/24")
	own, err := f.room.Save(t.Context(), ByHand)
	if err != nil {
		t.Fatal(err)
	}
	const other = "manual-20990101T000000Z-r99.weft.gz"
	aside := strings.Replace(other, ByHand, Aside, 1)
	at := func(server, name string, d time.Duration) Made {
		return Made{Server: server, Name: name, TimeUnix: own.Header.Time.Add(d).Unix()}
	}
	for _, c := range []struct {
		name, ask string
		last      Made
		want      string
		err       string
	}{
		{"ours is the latest", Latest, at("s1", own.Name, 0), own.Name, ""},
		{"another has an older one", Latest, at("s2", other, -time.Hour), own.Name, ""},
		{"another has a younger one", Latest, at("s2", other, time.Hour), "", "there is a younger one: another server has it: server s2 has " + other},
		{"another saved what it replaced", Latest, at("s2", aside, time.Hour), own.Name, ""},
		{"ours by name", own.Name, at("s2", other, time.Hour), own.Name, ""},
		{"another's by name", other, at("s2", other, time.Hour), "", other + " is not on server s1: another server has it: server s2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.room.change(t.Context(), func(s *State) { s.Last = &c.last })
			got, err := f.room.resolve(t.Context(), c.ask)
			if got != c.want || (err == nil) != (c.err == "") || err != nil && (!errors.Is(err, ErrOnOther) || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("got %q, %v\nwant %q, %s", got, err, c.want, c.err)
			}
		})
	}
}
