package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestCarve(t *testing.T) {
	for _, c := range []struct {
		name, cidr, taken string
		bits              int
		want              string // a prefix, or part of the error
	}{
		{"OK first", "10.42.0.0/16", "", 24, "10.42.0.0/24"},
		{"OK lowest hole", "10.42.0.0/16", "10.42.0.0/24 10.42.2.0/24", 24, "10.42.1.0/24"},
		{"OK after a shorter one", "10.42.0.0/16", "10.42.0.0/20", 24, "10.42.16.0/24"},
		{"OK a longer one blocks a whole block", "10.42.0.0/16", "10.42.0.128/25", 24, "10.42.1.0/24"},
		{"OK beside a longer one", "10.42.0.0/16", "10.42.0.128/25", 25, "10.42.0.0/25"},
		{"OK the whole", "10.42.0.0/24", "", 24, "10.42.0.0/24"},
		{"OK single addresses", "10.42.0.0/30", "10.42.0.0/32 10.42.0.1/32 10.42.0.2/32", 32, "10.42.0.3/32"},
		{"OK IPv6", "fd42:42::/48", "fd42:42::/64", 64, "fd42:42:0:1::/64"},
		{"OK IPv6 far below", "fd00::/8", "fd00::/128", 128, "fd00::1/128"},
		{"OK top of the family", "::/0", "", 128, "::/128"},
		{"bad full with one", "10.42.0.0/32", "10.42.0.0/32", 32, "1 prefix is taken, 0 of them resting"},
		{"bad full", "10.42.0.0/31", "10.42.0.0/32 10.42.0.1/32", 32, "2 prefixes are taken, 0 of them resting"},
		{"bad the whole is taken", "10.42.0.0/24", "10.42.0.0/24", 24, "no prefix is free"},
		{"bad too short", "10.42.0.0/16", "", 15, "use a length from 16 to 32"},
		{"bad too long", "10.42.0.0/16", "", 33, "use a length from 16 to 32"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := NewSpace(netip.MustParsePrefix(c.cidr))
			for _, p := range strings.Fields(c.taken) {
				if err := s.Take(netip.MustParsePrefix(p)); err != nil {
					t.Fatal(err)
				}
			}
			got, err := s.Carve(c.bits, epoch)
			if text := fmt.Sprint(got, err); !strings.Contains(text, c.want) {
				t.Errorf("got %s, want %s", text, c.want)
			}
		})
	}
}

func TestTake(t *testing.T) {
	s := NewSpace(netip.MustParsePrefix("10.42.0.0/16"))
	for _, c := range []struct{ prefix, want string }{
		{"10.42.4.0/24", ""},
		{"10.42.4.0/24", "overlaps what is taken"},
		{"10.42.4.7/32", "overlaps what is taken"},
		{"10.42.0.0/16", "overlaps what is taken"},
		{"10.42.0.0/15", "is no prefix of 10.42.0.0/16"},
		{"10.43.0.0/24", "is no prefix of 10.42.0.0/16"},
		{"10.42.5.1/24", "is no prefix of 10.42.0.0/16"},
		{"fd00::/64", "is no prefix of 10.42.0.0/16"},
	} {
		err := s.Take(netip.MustParsePrefix(c.prefix))
		if text := fmt.Sprint(err); err == nil && c.want != "" || !strings.Contains(text, c.want) {
			t.Errorf("take %s: %v, want %q", c.prefix, err, c.want)
		}
	}
}

func TestRest(t *testing.T) {
	s := NewSpace(netip.MustParsePrefix("10.42.0.0/22"))
	carve := func(at time.Duration) string {
		p, err := s.Carve(24, epoch.Add(at))
		if errors.Is(err, ErrFull) {
			p, err = s.Squeeze(24)
		}
		return fmt.Sprint(p, " ", err)
	}
	rest := func(p string, at time.Duration) { s.Rest(netip.MustParsePrefix(p), epoch.Add(at)) }
	expect := func(got, want string) {
		t.Helper()
		if !strings.Contains(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	expect(carve(0), "10.42.0.0/24")
	expect(carve(0), "10.42.1.0/24")
	rest("10.42.1.0/24", time.Minute)
	rest("10.42.0.0/24", 2*time.Minute)
	expect(carve(3*time.Minute), "10.42.2.0/24")  // both rest
	expect(carve(11*time.Minute), "10.42.1.0/24") // ten minutes to the dot
	expect(carve(11*time.Minute), "10.42.3.0/24")
	rest("10.42.3.0/24", 1*time.Minute+30*time.Second)
	expect(carve(11*time.Minute), "10.42.3.0/24") // nothing else is left: the longest-rested
	expect(carve(11*time.Minute), "10.42.0.0/24")
	expect(carve(11*time.Minute), "4 prefixes are taken; no prefix is free")
}

func TestRestsGoOnWhereTheyMadeNoRoom(t *testing.T) {
	s := NewSpace(netip.MustParsePrefix("10.42.0.0/23"))
	for _, p := range []string{"10.42.0.0/25", "10.42.0.128/25", "10.42.1.0/25", "10.42.1.128/25"} {
		if err := s.Take(netip.MustParsePrefix(p)); err != nil {
			t.Fatal(err)
		}
	}
	for i, p := range []string{"10.42.1.0/25", "10.42.0.0/25", "10.42.0.128/25"} {
		s.Rest(netip.MustParsePrefix(p), epoch.Add(time.Duration(i)*time.Second))
	}
	if _, err := s.Carve(24, epoch.Add(time.Minute)); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	if _, err := s.Squeeze(23); !errors.Is(err, ErrFull) || s.Resting() != 3 {
		t.Fatalf("%v, and %d rest", err, s.Resting())
	}
	got, err := s.Squeeze(24)
	if err != nil || got.String() != "10.42.0.0/24" {
		t.Fatal(got, err)
	}
	if s.Resting() != 1 || !s.Overlaps(netip.MustParsePrefix("10.42.1.0/25")) {
		t.Errorf("10.42.1.0/25 made no room and rests no more")
	}
}

// TestSpaceIsASet walks at random and compares with a list.
func TestSpaceIsASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cidr := netip.MustParsePrefix(rapid.SampledFrom([]string{"10.42.0.0/26", "fd42::/122"}).Draw(t, "cidr"))
		s := NewSpace(cidr)
		var model []netip.Prefix
		now := epoch
		draw := func() netip.Prefix {
			b := cidr.Addr().AsSlice()
			b[len(b)-1] += byte(rapid.IntRange(0, 63).Draw(t, "low"))
			a, _ := netip.AddrFromSlice(b)
			p, _ := a.Prefix(rapid.IntRange(cidr.Bits(), a.BitLen()).Draw(t, "bits"))
			return p
		}
		overlaps := func(p netip.Prefix) bool { return slices.ContainsFunc(model, p.Overlaps) }
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				p := draw()
				err := s.Take(p)
				if errors.Is(err, ErrTaken) != overlaps(p) {
					t.Fatalf("take %v: %v; taken are %v", p, err, model)
				}
				if err == nil {
					model = append(model, p)
				}
			},
			"free": func(t *rapid.T) {
				p := draw()
				if len(model) > 0 && rapid.Bool().Draw(t, "known") {
					p = rapid.SampledFrom(model).Draw(t, "which")
				}
				if s.Free(p) != slices.Contains(model, p) {
					t.Fatalf("free %v; taken are %v", p, model)
				}
				model = slices.DeleteFunc(model, func(q netip.Prefix) bool { return p == q })
			},
			"carve": func(t *rapid.T) {
				bits := rapid.IntRange(cidr.Bits(), cidr.Addr().BitLen()).Draw(t, "bits")
				want, found := lowestByScan(cidr, bits, overlaps)
				got, err := s.Carve(bits, now)
				if (err == nil) != found || found && got != want {
					t.Fatalf("carve /%d: %v, %v; want %v; taken are %v", bits, got, err, want, model)
				}
				if found {
					model = append(model, got)
				}
			},
			"": func(t *rapid.T) {
				if s.Len() != len(model) {
					t.Fatalf("%d taken, want %v", s.Len(), model)
				}
			},
		})
	})
}

func lowestByScan(cidr netip.Prefix, bits int, taken func(netip.Prefix) bool) (netip.Prefix, bool) {
	for a := cidr.Addr(); cidr.Contains(a); a = a.Next() {
		if p := netip.PrefixFrom(a, bits); p == p.Masked() && !taken(p) {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

func BenchmarkCarve(b *testing.B) {
	for b.Loop() {
		s := NewSpace(netip.MustParsePrefix("fd42:42::/48"))
		for range 1000 {
			if _, err := s.Carve(64, epoch); err != nil {
				b.Fatal(err)
			}
		}
	}
}
