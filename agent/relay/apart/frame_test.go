package apart

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/weft-net/weft/agent/mesh"
	wire "github.com/weft-net/weft/proto/relay"
)

func TestProbe(t *testing.T) {
	for _, p := range []probe{
		{mesh.Via{Server: "s1"}, "n2", 0, []byte("x")},
		{mesh.Via{Node: strings.Repeat("r", wire.MaxName)}, strings.Repeat("n", wire.MaxName), 1, bytes.Repeat([]byte("x"), wire.MaxProbe)},
	} {
		kind, payload, _, err := readFrame(bytes.NewReader(appendProbe(nil, p)), nil)
		if err != nil || kind != kindProbe {
			t.Fatalf("kind %d, %v", kind, err)
		}
		got, err := parseProbe(payload)
		if err != nil || got.via != p.via || got.peer != p.peer || got.slot != p.slot || !bytes.Equal(got.data, p.data) {
			t.Errorf("%+v, %v; want %+v", got, err, p)
		}
	}
}

// TestRefused is what no end takes, each for its own reason.
func TestRefused(t *testing.T) {
	for _, tt := range []struct{ name, message, err string }{
		{"no JSON", `{`, "no JSON of this protocol"},
		{"a node without a name", `{"node":{"dataDir":"/d"}}`, "field node"},
		{"a node without a folder", `{"node":{"node":"n1"}}`, "field node"},
		{"a peer without a name", `{"peers":[{}]}`, "field peers: a name"},
		{"a key that is cut off", `{"peers":[{"name":"n2","slots":[{"key":"AAAA"},{}]}]}`, "the key of node n2, slot 0, has 3 bytes"},
		{"a secret that is cut off", `{"peers":[{"name":"n2","slots":[{},{"secret":"AAAA"}]}]}`, "the secret of node n2, slot 1, has 3 bytes"},
		{"a port that is not of this machine", `{"ports":[{"peer":"n2","at":"192.0.2.1:7"}]}`, "field ports"},
		{"a slot that no node has", `{"ports":[{"peer":"n2","slot":2,"at":"127.0.0.1:7"}]}`, "field ports"},
	} {
		if _, err := parseMessage([]byte(tt.message)); err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v; want %q", tt.name, err, tt.err)
		}
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "no slot": {2}, "no names": {0}, "a name that is cut off": {0, 2, 'n'},
		"of nobody":          appendProbe(nil, probe{mesh.Via{Server: "s1"}, "", 0, []byte("x")})[5:],
		"over nobody":        appendProbe(nil, probe{mesh.Via{}, "n2", 0, []byte("x")})[5:],
		"over two":           appendProbe(nil, probe{mesh.Via{Server: "s1", Node: "n3"}, "n2", 0, []byte("x")})[5:],
		"that says nothing":  appendProbe(nil, probe{mesh.Via{Server: "s1"}, "n2", 0, nil})[5:],
		"that says too much": appendProbe(nil, probe{mesh.Via{Server: "s1"}, "n2", 0, make([]byte, wire.MaxProbe+1)})[5:],
	} {
		if p, err := parseProbe(b); err == nil {
			t.Errorf("a probe %s: %+v", name, p)
		}
	}
	for _, b := range []string{"", "\x00\x00\x00\x00\x01", "\x00\x20\x00\x00\x01", "\x00\x00\x00\x05\x01abc"} {
		if _, _, _, err := readFrame(strings.NewReader(b), nil); err == nil {
			t.Errorf("frame %q was taken", b)
		}
	}
}

// FuzzFrame: what comes is refused, or is the same when it is said again.
func FuzzFrame(f *testing.F) {
	at := netip.MustParseAddrPort("192.0.2.1:51820")
	m := message{
		Hello: &hello{Protocol: Protocol, Release: "v1", PID: 7, Of: identity{"n1", "/d"}},
		Node:  &node{identity: identity{"n1", "/d"}, Servers: []string{"192.0.2.9:7443"}, Devices: [2]uint16{51820, 0}}, Whole: true,
		Peers: []peer{{Name: "n2", Asks: [2]ask{{Port: true, Via: &mesh.Via{Server: "s1"}, As: &at}}}},
	}
	b, err := appendMessage(nil, m)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(appendProbe(b, probe{mesh.Via{Node: "n3"}, "n2", 1, []byte("x")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		var buf []byte
		for {
			kind, payload, next, err := readFrame(r, buf)
			if err != nil {
				return
			}
			buf = next
			if p, err := parseProbe(payload); kind == kindProbe && err == nil {
				if again := appendProbe(nil, p)[5:]; !bytes.Equal(again, payload) {
					t.Fatalf("%q, then %q", payload, again)
				}
			}
			m, err := parseMessage(payload)
			if kind != kindMessage || err != nil {
				continue
			}
			once, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			again, err := parseMessage(once)
			if err != nil {
				t.Fatalf("%s: %v", once, err)
			}
			twice, err := json.Marshal(again)
			if d := cmp.Diff(string(once), string(twice)); d != "" || err != nil {
				t.Fatal(d, err)
			}
			(&told{}).with(m)
		}
	})
}
