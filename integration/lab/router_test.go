package lab

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestRouter: what stands behind a router gets out as the layout says, under the
// router's address, and nobody gets in.
func TestRouter(t *testing.T) {
	for _, tt := range []struct {
		out  Out
		gets []int // of s1's ports
	}{
		{Anything, []int{443, 7443, 8080}},
		{OnlyHTTPS, []int{443}},
		{OnlyWeft, []int{7443}},
		{OnlyProxy, nil},
	} {
		t.Run("out="+string(tt.out), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			f, err := NewFabric(ctx, t.TempDir(), Layout{Nodes: 1, Behind: 1, Out: tt.out})
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			node, router := f.Nodes[0], f.Routers[0]
			var got []int
			for _, port := range []int{443, 7443, 8080} {
				page, err := page(ctx, t, node, f.Server, port)
				if err != nil {
					continue
				}
				got = append(got, port)
				if want := "by " + f.NodeIPs(router.Host)[0] + "\n"; !strings.HasSuffix(page, want) {
					t.Errorf("the page says %q, not %q", page, want)
				}
			}
			if !slices.Equal(got, tt.gets) {
				t.Errorf("ports %v got out; want %v", got, tt.gets)
			}
			if err := ip(ctx, "-n", f.Server.ns, "route", "add", "192.168.1.0/24", "via", f.NodeIPs(router.Host)[0]); err != nil {
				t.Fatal(err)
			}
			if page, err := page(ctx, t, f.Server, node, 80); err == nil {
				t.Errorf("s1 got in: %q", page)
			}
		})
	}
}

// page asks a new web of one host's from another. What gets through does so at
// once; what is dropped is known by time alone.
func page(ctx context.Context, t *testing.T, from, of *Host, port int) (string, error) {
	at := netip.AddrPortFrom(of.addrs[0].Addr(), uint16(port))
	w, err := StartWeb(of, at)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return from.Run(ctx, "curl", "-sS", "-m", "2", fmt.Sprintf("http://%v/", at))
}

// TestProxy: who has the password is connected, others are told what they lack.
func TestProxy(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	f, err := NewFabric(ctx, t.TempDir(), Layout{Nodes: 1, Behind: 1, Out: OnlyProxy})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	at := netip.AddrPortFrom(f.Server.addrs[0].Addr(), 7443)
	if _, err := StartWeb(f.Server, at); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		credentials string
		manner      Manner
		want        string
		asked       string
	}{
		{"ann:secret@", Obliging, "this is s1", " 200"},
		{"ann:wrong@", Obliging, "407", " 407"},
		{"", Obliging, "407", " 407"},
		{"ann:secret@", Garbled, "curl: (", " 0"},
		{"ann:secret@", Mute, "curl: (28)", " 0"},
	} {
		p, err := StartProxy(f.Proxy, "ann", "secret", tt.manner)
		if err != nil {
			t.Fatal(err)
		}
		through := "http://" + tt.credentials + f.NodeIPs(f.Proxy)[0] + ":" + ProxyPort
		out, _ := f.Nodes[0].Run(ctx, "curl", "-sS", "-m", "2", "--proxytunnel", "--proxy", through, fmt.Sprintf("http://%v/", at))
		if !strings.Contains(out, tt.want) {
			t.Errorf("%s %q: %q, want %q", tt.credentials, tt.manner, out, tt.want)
		}
		if want := "CONNECT " + at.String() + tt.asked + "\n"; p.Asked() != want {
			t.Errorf("%s %q: the proxy saw %q, want %q", tt.credentials, tt.manner, p.Asked(), want)
		}
		p.Close()
	}
}
