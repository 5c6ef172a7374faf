package preshared

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/agent/datapath"
	"github.com/weft-net/weft/proto/intent"
)

// fabric is a network of sockets in memory, by fabric address.
type fabric struct {
	mu    sync.Mutex
	ports map[netip.Addr]*port
	taken bool // another process has the port
	asked int  // how often it was asked for
}

type port struct {
	f    *fabric
	at   netip.Addr
	came chan parcel
	end  chan struct{}
}

type parcel struct {
	from netip.Addr
	dev  string
	data []byte
}

func (f *fabric) listen(_ context.Context, at netip.Addr) (Net, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asked++; f.taken {
		return nil, errors.New("address already in use")
	}
	p := &port{f, at, make(chan parcel, 1000), make(chan struct{})}
	f.ports[at] = p
	return p, nil
}

func (p *port) Send(dev string, to netip.Addr, b []byte) error {
	p.f.put(to, parcel{p.at, dev, slices.Clone(b)})
	return nil
}

func (f *fabric) put(to netip.Addr, what parcel) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if at := f.ports[to]; at != nil {
		select {
		case at.came <- what:
		default:
		}
	}
}

func (p *port) Receive(b []byte) (int, netip.Addr, string, error) {
	select {
	case got := <-p.came:
		return copy(b, got.data), got.from, got.dev, nil
	case <-p.end:
		return 0, netip.Addr{}, "", net.ErrClosed
	}
}

func (p *port) Close() error {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	delete(p.f.ports, p.at)
	close(p.end)
	return nil
}

// safe is a disk for several goroutines that notes the keys it was given.
type safe struct {
	mu   sync.Mutex
	disk disk
	keys [][32]byte
}

func (s *safe) Find(of Tunnel) ([32]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.disk.Find(of)
}

func (s *safe) Keep(of Tunnel, key [32]byte) ([32]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = append(s.keys, key)
	return s.disk.Keep(of, key)
}

func (s *safe) Drop(id [32]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.disk.Drop(id)
}

// member is a node with its room.
type member struct {
	*Agreement
	f      *fabric
	mu     sync.Mutex
	intent intent.Node
	store  *safe
	log    bytes.Buffer
}

// together is n1, n2 and n3, whose rooms run until the test ends.
func together(t *testing.T, f *fabric, wanted bool) []*member {
	f.ports = map[netip.Addr]*port{}
	var peers []intent.Peer
	for i, name := range []string{"n1", "n2", "n3"} {
		peers = append(peers, intent.Peer{
			Name: name, Preshared: true, Lease: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 42, byte(i + 1), 0}), 24)},
			Slots: []intent.Slot{{Slot: 0, Key: intent.Key{byte(i + 1)}, Port: 51820}},
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	var g errgroup.Group
	var out []*member
	for i, p := range peers {
		m := &member{f: f, store: &safe{disk: disk{}}, intent: intent.Node{Name: p.Name, Peers: peers}}
		m.intent.Cluster.PostQuantum = wanted
		m.Agreement = New(p.Name, Config{
			Log: slog.New(slog.NewTextHandler(&m.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Store: m.store,
			Intent: func() (intent.Node, bool) {
				m.mu.Lock()
				defer m.mu.Unlock()
				return m.intent, true
			},
			Slots:  func() []intent.Slot { return peers[i].Slots },
			Shared: func(own, peer intent.Key) ([32]byte, error) { return [32]byte{own[0] + peer[0]}, nil }, // of any two another
			Facts: func() (map[string][intent.Slots]Fact, bool) {
				return map[string][intent.Slots]Fact{"n1": {}, "n2": {}, "n3": {}}, true
			},
			Listen: f.listen,
		})
		g.Go(func() error { return m.Run(ctx) })
		out = append(out, m)
	}
	t.Cleanup(func() {
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
	return out
}

func (m *member) want(yes bool) {
	m.mu.Lock()
	m.intent.Cluster.PostQuantum = yes
	m.mu.Unlock()
	m.Kick()
}

// agreed tells whether all pairs have one key each.
func agreed(all []*member) bool {
	seen := map[[32]byte]int{}
	for _, a := range all {
		for _, b := range all {
			if a == b {
				continue
			}
			key := a.States()[b.intent.Name][0].Key
			if key == ([32]byte{}) || key != b.States()[a.intent.Name][0].Key {
				return false
			}
			seen[key]++
		}
	}
	return len(seen) == len(all)*(len(all)-1)/2
}

// TestRooms: three rooms agree on three keys, of which no log says a byte.
func TestRooms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := together(t, &fabric{}, true)
		time.Sleep(10 * time.Second)
		if !agreed(all) {
			t.Fatalf("n1: %s\nn2: %s\nn3: %s", show(all[0].m), show(all[1].m), show(all[2].m))
		}
		synctest.Wait()
		for _, m := range all {
			if n := strings.Count(m.log.String(), "agreed on"); n != 2 {
				t.Errorf("%s tells %d times of new keys:\n%s", m.intent.Name, n, &m.log)
			}
			for _, key := range m.store.keys {
				for _, text := range []string{hex.EncodeToString(key[:4]), base64.StdEncoding.EncodeToString(key[:6]), string(key[:4])} {
					if strings.Contains(m.log.String(), text) {
						t.Errorf("%s prints a key:\n%s", m.intent.Name, &m.log)
					}
				}
			}
		}
	})
}

// TestNotWanted: nothing listens before keys are wanted, and nothing does afterwards.
func TestNotWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fabric{}
		all := together(t, f, false)
		time.Sleep(time.Minute)
		if f.asked > 0 {
			t.Error("the port was opened")
		}
		for _, m := range all {
			m.want(true)
		}
		time.Sleep(10 * time.Second)
		if !agreed(all) {
			t.Error("not agreed once keys are wanted")
		}
		for _, m := range all {
			m.want(false)
		}
		time.Sleep(time.Second)
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.ports) > 0 {
			t.Error("the port is open still")
		}
		if !agreed(all) {
			t.Error("keys went with the wish for them")
		}
	})
}

// TestPortTaken: a port that another process has is tried again until it is free; it is
// told once.
func TestPortTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fabric{taken: true}
		all := together(t, f, true)
		time.Sleep(time.Minute)
		if err := all[0].Deaf(); err == nil || !strings.Contains(err.Error(), "already in use") {
			t.Errorf("deaf: %v", err)
		}
		f.mu.Lock()
		f.taken = false
		f.mu.Unlock()
		time.Sleep(20 * time.Second)
		if !agreed(all) {
			t.Error("not agreed once the port is free")
		}
		if err := all[0].Deaf(); err != nil {
			t.Errorf("deaf, though the port is open: %v", err)
		}
		if n := strings.Count(all[0].log.String(), "already in use"); n != 1 {
			t.Errorf("told %d times:\n%s", n, &all[0].log)
		}
	})
}

// TestFlood: what one node sends without end is no loss of the others, nor what comes by
// another device or from nobody.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fabric{taken: true}
		all := together(t, f, true)
		ctx, cancel := context.WithCancel(t.Context())
		var flood sync.WaitGroup
		defer flood.Wait()
		defer cancel()
		to := netip.MustParseAddr("10.42.1.0")
		flood.Go(func() {
			for ctx.Err() == nil {
				time.Sleep(10 * time.Millisecond)
				for range 10 {
					f.put(to, parcel{netip.MustParseAddr("10.42.3.0"), datapath.WGLink(0), make([]byte, 600)})
					f.put(to, parcel{netip.MustParseAddr("10.42.9.0"), datapath.WGLink(0), make([]byte, 600)})
					f.put(to, parcel{netip.MustParseAddr("10.42.2.0"), "wf0123456789a", make([]byte, 600)})
				}
			}
		})
		f.mu.Lock()
		f.taken = false
		f.mu.Unlock()
		time.Sleep(20 * time.Second)
		if !agreed(all[:2]) {
			t.Errorf("n1: %s\nn2: %s", show(all[0].m), show(all[1].m))
		}
		all[0].gate.mu.Lock()
		defer all[0].gate.mu.Unlock()
		if n := len(all[0].gate.peers); n != 2 {
			t.Errorf("%d senders are known", n)
		}
	})
}
