package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-net/weft/agent/datadir"
	"github.com/weft-net/weft/agent/uplink"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/join"
)

// swarm is the agents of one generator.
type swarm struct {
	server  []string
	token   join.Token
	folder  string
	release string
	memory  memory
	tunnels heldTunnels
	// tunnelled has the agents keep tunnels.
	tunnelled bool
	up        atomic.Int64 // bytes that agents sent, as TLS has them
	down      atomic.Int64

	mu     sync.Mutex
	agents map[string]*agent
	goal   *goal
}

// agent is one node without a kernel.
type agent struct {
	swarm  *swarm
	name   string
	number int
	uplink *uplink.Uplink
	slow   atomic.Bool
	stop   context.CancelFunc
	done   chan struct{}
	err    error
}

// start makes an agent and lets it run. number gives it an address of its own.
func (s *swarm) start(ctx context.Context, name string, number int) error {
	dir, err := datadir.Open(filepath.Join(s.folder, name))
	if err != nil {
		return err
	}
	a := &agent{swarm: s, name: name, number: number, done: make(chan struct{})}
	machine := sha256.Sum256([]byte(name))
	cfg := uplink.Config{
		Node: name, Servers: s.server, Token: func() (join.Token, error) { return s.token, nil },
		Machine: hex.EncodeToString(machine[:16]), Boot: "1", Version: s.release,
		Log: slog.New(slog.DiscardHandler), OnChange: a.changed, Dial: a.dial, Read: s.memory.read, Unfiled: true,
	}
	if s.tunnelled {
		cfg.Tunnel = s.tunnels.serve
	}
	if a.uplink, err = uplink.New(dir, cfg); err != nil {
		return err
	}
	a.report(nil)
	ctx, a.stop = context.WithCancel(ctx)
	s.mu.Lock()
	s.agents[name] = a
	s.mu.Unlock()
	go func() {
		defer close(a.done)
		defer dir.Close()
		a.err = a.uplink.Run(ctx)
	}()
	return nil
}

// changed acknowledges what came, as if the kernel had been made so at once.
func (a *agent) changed() {
	rev, _ := a.uplink.Held()
	a.uplink.Applied(rev)
	a.swarm.mu.Lock()
	g := a.swarm.goal
	a.swarm.mu.Unlock()
	if g != nil {
		g.look(a)
	}
}

// report says what the agent's peers need to know of it.
func (a *agent) report(labels map[string]string) {
	addr := netip.AddrFrom4([4]byte{172, byte(16 + a.number>>16), byte(a.number >> 8), byte(a.number)})
	a.uplink.SetReport(uplink.Report{
		Underlay: []intent.Underlay{{Addr: netip.PrefixFrom(addr, 12), Device: "eth0", MTU: 1500}}, VTEP: a.uplink.VTEP(),
		Labels: labels, Capabilities: []string{"vxlan", "nftables"}, Kernel: "6.18.0",
	})
}

// grow gives an agent as many labels as one may report, of which every peer is
// told: the largest object that there is, 60 KB.
func (s *swarm) grow(name string, value int) error {
	s.mu.Lock()
	a := s.agents[name]
	s.mu.Unlock()
	if a == nil {
		return fmt.Errorf("no agent %s", name)
	}
	labels := map[string]string{}
	for i := range 200 {
		labels[fmt.Sprintf("%s.example/%03d", strings.Repeat("a", 230), i)] = fmt.Sprintf("%059d", value)
	}
	a.report(labels)
	return nil
}

// remove stops an agent.
func (s *swarm) remove(name string) error {
	s.mu.Lock()
	a := s.agents[name]
	delete(s.agents, name)
	s.mu.Unlock()
	if a == nil {
		return fmt.Errorf("no agent %s", name)
	}
	a.stop()
	<-a.done
	return os.RemoveAll(filepath.Join(s.folder, name))
}

// dial counts what goes over the wire, and reads slowly if the agent is slow.
func (a *agent) dial(ctx context.Context, addr string) (net.Conn, error) {
	c, err := (&net.Dialer{KeepAlive: -1}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &counted{Conn: c, agent: a}, nil
}

// counted is a connection of an agent.
type counted struct {
	net.Conn
	agent *agent
}

// A slow agent reads slowBytes in each slowEvery: 20 KB/s, over a path that is lossy
// or on a machine that is starved.
const (
	slowBytes = 4 << 10
	slowEvery = 200 * time.Millisecond
)

func (c *counted) Read(b []byte) (int, error) {
	if c.agent.slow.Load() {
		time.Sleep(slowEvery)
		b = b[:min(len(b), slowBytes)]
	}
	n, err := c.Conn.Read(b)
	c.agent.swarm.down.Add(int64(n))
	return n, err
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.agent.swarm.up.Add(int64(n))
	return n, err
}
