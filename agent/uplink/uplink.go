package uplink

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weft-net/weft/agent/datadir"
	"github.com/weft-net/weft/agent/proxy"
	"github.com/weft-net/weft/agent/uplink/tunnels"
	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/join"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/tunnel"
)

// Config says who the node is and where the servers are.
type Config struct {
	Node    string
	Servers []string                   // HOST:PORT, as ParseServer returns
	Token   func() (join.Token, error) // asked only while the node has not joined; nil: it must have
	Labels  map[string]string          // of the node, told when it joins
	// Ephemeral asks, when the node joins, that it is deleted when it goes. A token
	// can make it so too, which is remembered on the disk.
	Ephemeral bool
	// Leave says, when Run of an ephemeral node ends, whether it goes for good; nil:
	// it does not.
	Leave    func() bool
	Machine  string // content of /etc/machine-id
	Boot     string // boot id
	Version  string
	Log      *slog.Logger
	OnChange func() // called when Intent has changed; must not block
	OnEcho   func() // called when Echo has; must not block; nil: nobody asks
	// Answer answers what a server asks of service Agent: a method's name, its
	// request and its response, encoded. nil: nothing is answered.
	Answer func(ctx context.Context, method string, request []byte) ([]byte, error)

	// Tunnel serves a tunnel to a server, HOST:PORT, until it ends; there is one to each.
	// ctx outlives Run's while what is open on it ends. nil: none is opened.
	Tunnel func(ctx context.Context, c *tunnel.Conn, server string)

	// Beside is told what connections to servers' relays rest on. nil: nobody keeps any.
	Beside Beside

	// Carried is the MAC address of the VXLAN devices that are there, zero for none; it
	// is asked when the file of it is damaged. nil: none.
	Carried func() intent.MAC

	// For a process that holds many agents, to find out what servers bear: what is
	// read is shared, and the intent is not written to disk.
	Read    func(intent.Object) *intent.Item // nil: intent.Read
	Unfiled bool

	Now     func() time.Time                                         // this machine's clock; nil: time.Now
	Dial    func(ctx context.Context, addr string) (net.Conn, error) // nil: TCP
	Proxy   func(server string) *proxy.Proxy                         // through which a server is reached; nil: none
	Resolve func(ctx context.Context, host string) ([]string, error) // nil: the system's resolver
}

// Uplink is the line to the servers. Its methods are safe for concurrent use.
type Uplink struct {
	cfg   Config
	dir   *datadir.Dir
	vtep  intent.MAC
	out   *outbox
	order *order
	tuns  *tunnels.Tunnels

	instance string        // drawn at each start; see Hello
	streams  atomic.Uint64 // that were opened

	held      atomic.Pointer[held]
	confirmed atomic.Bool   // a server has named held in this run
	distrust  atomic.Bool   // the server made no sense: claim to hold nothing
	stale     atomic.Bool   // a server does not take the certificate: the next try begins with another
	crowded   atomic.Uint32 // handshakes in a row that servers which answer did not end
	write     chan struct{} // room for one: held should go to disk
	renewed   chan struct{} // room for one: the identity has changed

	enrolling sync.Mutex // one Join or Renew at a time
	refusals  int        // in a row; connect's own

	mu    sync.Mutex
	id    identity
	early time.Time // when a server wants the certificate renewed; zero: it does not
	line  line
	echo  Echo
	guard guard
	filed *held // as on disk; New's, then the writer's
}

// line is how the stream is.
type line struct {
	server string
	proxy  string // through which; empty: directly
	name   string // that the server says of itself; empty: it does not
	heard  time.Time
	err    error     // why there is none
	lost   time.Time // since when there is none
	apart  time.Duration

	local netip.Addr              // our end of the stream
	cut   context.CancelCauseFunc // ends it
}

// Status is the line at a glance.
type Status struct {
	Server         string    // in use; empty when none answers
	Proxy          string    // through which, without credentials; empty: directly
	ServerName     string    // of the last one that said it
	Heard          time.Time // last message from any server; zero: never
	Epoch          string
	Revision       int64 // of the intent held
	CertificateEnd time.Time
	Err            error         // why no server answers
	Apart          time.Duration // server's clock less ours; 0 while not known
	Looking        bool          // see SetLooking
}

// New reads what the data folder holds. It makes the key and the VTEP's MAC
// address if they are not there. A file of a later release is refused before
// anything is written; a damaged intent is set aside and reported.
func New(dir *datadir.Dir, cfg Config) (*Uplink, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Resolve == nil {
		cfg.Resolve = net.DefaultResolver.LookupHost
	}
	if cfg.Read == nil {
		cfg.Read = intent.Read
	}
	learned, err := loadServers(dir)
	if err != nil {
		return nil, err
	}
	u := &Uplink{
		cfg: cfg, dir: dir, out: newOutbox(cfg.Node), order: newOrder(cfg.Node, cfg.Servers, learned), instance: rand.Text(),
		write: make(chan struct{}, 1), renewed: make(chan struct{}, 1),
	}
	u.tuns = u.newTunnels()
	former, err := formerNames(dir, cfg.Node)
	if err != nil {
		return nil, err
	}
	f, damage, err := readIntent(dir, cfg.Node, former...)
	if err != nil {
		return nil, err
	}
	if u.id, err = loadIdentity(dir, cfg.Node); err != nil {
		return nil, err
	}
	u.distrust.Store(f.Node != "" && f.Node != cfg.Node) // what differs by name is not to be guessed
	u.out.setRoots(hashes(u.id.roots))
	if u.vtep, err = loadVTEP(dir, cfg.Carried); err != nil {
		return nil, err
	}
	if damage != nil {
		u.setAside(damage)
	}
	if f.Node != "" {
		set, _ := intent.NewSet(f.objects())
		h := &held{f.Node, f.Epoch, f.Compile, f.Revision, set}
		u.filed = h
		u.stand(h)
	}
	return u, nil
}

// VTEP is the MAC address of the node's VXLAN devices.
func (u *Uplink) VTEP() intent.MAC { return u.vtep }

// ours is the last complete intent; nil while there is none. One of another name counts
// once a server has said that this node is that one: a folder may have been copied, and
// what its node is to have in the kernel is not for this one.
func (u *Uplink) ours() *held {
	if u.identity().former != "" {
		return nil
	}
	return u.held.Load()
}

// Intent returns the last complete intent; false while there is none. Its slices
// and maps must not be changed.
func (u *Uplink) Intent() (intent.Node, bool) {
	h := u.ours()
	if h == nil {
		return intent.Node{Name: u.cfg.Node}, false
	}
	return h.intent(), true
}

// Self returns the node's own entry in the last complete intent.
func (u *Uplink) Self() (intent.Peer, bool) {
	h := u.ours()
	if h == nil {
		return intent.Peer{}, false
	}
	return h.set.Peer(u.cfg.Node)
}

// Held is the revision and the count of objects of the last complete intent.
func (u *Uplink) Held() (revision int64, objects int) {
	h := u.ours()
	if h == nil {
		return 0, 0
	}
	return h.revision, h.set.Len()
}

// Object returns one object of the last complete intent.
func (u *Uplink) Object(id intent.ID) (intent.Object, bool) {
	if h := u.ours(); h != nil {
		if it := h.set.Find(id); it != nil {
			return it.Object, true
		}
	}
	return intent.Object{}, false
}

// Confirmed tells whether a server has named the intent in this run. One from the
// disk may be older than what the kernel was given before the agent was killed.
func (u *Uplink) Confirmed() bool { return u.confirmed.Load() }

// Objects returns the last complete intent as it came over the wire.
func (u *Uplink) Objects() []intent.Object {
	if h := u.held.Load(); h != nil {
		return h.set.Objects()
	}
	return nil
}

// SetReport says what peers need to know. The stream waits for the first call.
func (u *Uplink) SetReport(r Report) { u.out.setReport(r) }

// SetProblems replaces what the rest of the agent has to complain of.
func (u *Uplink) SetProblems(ps []intent.Problem) { u.out.setProblems("agent", ps) }

// SetLooking says whether the agent has begun so recently that it has not looked at its
// host: the server lets stand what was found before.
func (u *Uplink) SetLooking(looking bool) { u.out.setLooking(looking) }

// SetSettings says which settings of the host the agent has changed, a line each.
func (u *Uplink) SetSettings(lines []string) { u.out.setSettings(lines) }

// Problems lists what is wrong, the uplink's own findings included, with dates.
func (u *Uplink) Problems() []intent.Problem { return u.out.listProblems() }

// SetEndpoints replaces the list of attachments; what changed is sent.
func (u *Uplink) SetEndpoints(es []Endpoint) { u.out.setEndpoints(es) }

// Applied says that the kernel is what a revision of the intent asked for.
func (u *Uplink) Applied(rev int64) { u.out.setApplied(rev) }

// Status returns the line at a glance.
func (u *Uplink) Status() Status {
	var now held
	if h := u.held.Load(); h != nil {
		now = *h
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	s := Status{Server: u.line.server, Proxy: u.line.proxy, ServerName: u.line.name, Heard: u.line.heard, Epoch: now.epoch, Revision: now.revision, Err: u.line.err, Apart: u.line.apart, Looking: u.out.isLooking()}
	if u.id.cert != nil {
		s.CertificateEnd = u.id.cert.NotAfter
	}
	return s
}

func (u *Uplink) identity() identity {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.id
}

// setIdentity takes a certificate. A stream that was opened with the one before
// would be ended by its server when that one ends: the node moves to the new one
// now, at a moment when it has both.
func (u *Uplink) setIdentity(id identity) {
	u.mu.Lock()
	u.id, u.early = id, time.Time{}
	if u.line.cut != nil {
		u.line.cut(errRenewed)
	}
	u.mu.Unlock()
	u.out.setRoots(hashes(id.roots))
	wake(u.renewed)
	for _, t := range u.kept() {
		t.Renewed()
		t.Kick() // the first one has it ask for servers
	}
}

func (u *Uplink) heardFrom(l link) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.line.heard = time.Now()
	if u.line.server != l.server {
		u.line.server, u.line.proxy, u.line.err = l.server, "", nil
		if l.via != nil {
			u.line.proxy = l.via.String()
		}
		u.cfg.Log.Info("server reached", note.Conn, l.server, note.Via, u.line.proxy)
		for _, t := range u.kept() {
			t.Alive(l.server)
		}
		u.out.setProblems("server", nil)
	}
}

// bind notes which of the node's addresses a stream comes from, and returns what
// forgets it.
func (u *Uplink) bind(local netip.Addr, cut context.CancelCauseFunc) (release func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.line.local, u.line.cut = local, cut
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.line.cut = nil
	}
}

// SetAddresses tells which addresses the host has. A stream from one that is gone
// hears nothing any more, and is ended at once instead of after 8 s: peers must
// learn the new address.
func (u *Uplink) SetAddresses(has func(netip.Addr) bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.line.cut != nil && u.line.local.IsValid() && !has(u.line.local) {
		u.line.cut(errMoved)
	}
	for _, t := range u.kept() {
		t.Moved(has)
	}
}

// kept are the connections that are kept beside the stream.
func (u *Uplink) kept() []Beside {
	if u.cfg.Beside == nil {
		return []Beside{u.tuns}
	}
	return []Beside{u.tuns, u.cfg.Beside}
}
