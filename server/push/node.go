package push

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
)

// Bounds on what one node can make the server remember.
const (
	maxProblems     = 256
	maxObjectErrors = 1024
	maxSentence     = 1024 // bytes of a cause, a remedy, an error
	maxSubject      = 512
	maxSettings     = 256
)

// Status is what the hub knows of a node, from its own streams since its start.
type Status struct {
	Node         string
	Connected    bool
	Since        time.Time // of the stream, or of its end
	Heard        time.Time
	Version      string
	Machine      string
	Boot         string
	Remote       string // address of the agent
	Run          string // of this server
	Instance     string // of the agent's process
	Stream       uint64 // of the instance's
	Applied      int64  // revision
	Sent         int64  // revision
	Endpoints    int
	Settings     []string // of the host, that the agent has changed
	Looking      bool     // the agent has not looked at its host yet
	Problems     []kind.Problem
	ObjectErrors []kind.ObjectError
}

// node is what is known of one node, over all its streams.
type node struct {
	name string

	storing   sync.Mutex // held while its report is written
	stored    []byte     // the report that we wrote last
	storedRev int64
	hadObject bool             // the node's object was there when its report was written
	pending   *kind.ReportSpec // a report that the store did not take
	spec      *kind.ReportSpec // the last one of its streams
	doubted   bool             // another server may have written another

	listing    sync.Mutex // held while endpoints are taken in; before mu
	groundless bool       // all were told, and what is stored could not be read

	mu        sync.Mutex
	status    Status // but for problems and object errors
	reports   []kind.Problem
	unseen    unseen
	told      map[[2]string]kind.Problem // reports that are events already, by subject and cause
	noted     map[string]kind.Problem    // what the server noticed, by subject
	errors    map[ref]kind.ObjectError
	endpoints map[string][]byte // as stored, by key; nil before the first full list
	double    double
	recorded  int64             // revision at which we stored its observation last; 0: not yet
	claimed   bool              // that was of the stream that it has now
	kept      map[string][]byte // further observations as last to be stored, by key; nil of one that is not there
}

// keptOf are the keys of a node's further observations.
func keptOf(name string) []string { return []string{kind.ObservedPool(name), kind.ObservedPath(name)} }

// keptKnown tells whether an observation of the node was noted before.
func (n *node) keptKnown(key string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, known := n.kept[key]
	return known
}

// keptNews notes an observation of a node, and tells whether it is other than is
// stored. The first word of a node is: another server may have stored more.
func (n *node) keptNews(key string, value []byte) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	old, known := n.kept[key]
	n.kept[key] = value
	return !known || !bytes.Equal(old, value)
}

func newNode(name string) *node {
	return &node{
		name: name, status: Status{Node: name}, noted: map[string]kind.Problem{}, errors: map[ref]kind.ObjectError{}, kept: map[string][]byte{},
	}
}

// heard notes that the node lives, and tells whether what it told of on an earlier
// stream has stood for long enough.
func (n *node) heard() (lapsed bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.status.Heard = time.Now()
	return n.lapse(n.status.Heard)
}

func (n *node) came(hello *weftv1.Hello, remote, run string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	n.status = Status{
		Node: n.name, Connected: true, Since: now, Heard: now, Remote: remote,
		Version: hello.GetVersion(), Machine: hello.GetMachine(), Boot: hello.GetBoot(),
		Run: run, Instance: hello.GetInstance(), Stream: hello.GetStream(),
	}
	n.begin(hello.GetProblemsFollow(), now)
	n.recorded, n.claimed = 0, false // another server may have had a stream meanwhile
	clear(n.errors)
	delete(n.kept, kind.ObservedPath(n.name)) // and have written of its paths
	n.double.doubt = time.Time{}
	delete(n.noted, reportSubject)
	delete(n.noted, endpointSubject)
}

func (n *node) left() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.status.Connected, n.status.Since = false, time.Now()
	n.unseen.stays = n.unseen.lasts(time.Now())
}

// applied notes a revision and answers with the one before.
func (n *node) applied(rev int64) (before int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	before = n.status.Applied
	n.status.Applied = max(before, rev)
	return before
}

// revision is the last that the node has applied.
func (n *node) revision() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.status.Applied
}

func (n *node) sent(rev int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.status.Sent = rev
}

func (n *node) reported(m *weftv1.ProblemReport) {
	ps := m.GetProblems()
	var out []kind.Problem
	for _, p := range ps[:min(len(ps), maxProblems)] {
		out = append(out, kind.Problem{
			Subject: clip(asNamed(p.GetSubject()), maxSubject), Cause: clip(p.GetCause(), maxSentence),
			Remedy: clip(p.GetRemedy(), maxSentence), SinceUnix: p.GetSinceUnix(),
		})
	}
	var settings []string
	for _, s := range m.GetSettings()[:min(len(m.GetSettings()), maxSettings)] {
		settings = append(settings, clip(s, maxSubject))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.found(out, m.GetLooking())
	n.status.Settings = settings
}

// asNamed is a problem's subject as people name it. Agents say of a peer the key of its
// object, in which the namespace that nodes have not leaves two slashes.
func asNamed(subject string) string {
	if name, ok := strings.CutPrefix(subject, intent.PeerKey("")); ok {
		return kind.Node + "/" + name
	}
	return subject
}

func (n *node) objectError(e *weftv1.ObjectError) {
	r := ref{clip(e.GetCollection(), maxSubject), clip(e.GetKey(), maxSubject)}
	n.mu.Lock()
	defer n.mu.Unlock()
	if e.GetError() == "" {
		delete(n.errors, r)
		return
	}
	if _, known := n.errors[r]; !known && len(n.errors) >= maxObjectErrors {
		return
	}
	n.errors[r] = kind.ObjectError{
		Collection: r.collection, Key: r.key, Revision: e.GetRevision(),
		Error: clip(e.GetError(), maxSentence), Remedy: clip(e.GetRemedy(), maxSentence),
	}
}

// note keeps or takes back what the server found wrong, and says whether that is
// news.
func (n *node) note(subject string, err error, remedy string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	old, had := n.noted[subject]
	if err == nil {
		delete(n.noted, subject)
		return had
	}
	p := kind.Problem{Subject: subject, Cause: clip(err.Error(), maxSentence), Remedy: remedy, SinceUnix: time.Now().Unix()}
	if had {
		p.SinceUnix = old.SinceUnix
	}
	n.noted[subject] = p
	return p != old
}

// snapshot is the node's status now.
func (n *node) snapshot() Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.double.over(time.Now()) {
		n.double = double{}
		delete(n.noted, doubleSubject)
	}
	s := n.status
	s.Endpoints = len(n.endpoints)
	s.Problems, s.Looking = n.problems(), n.unseen.lasts(time.Now())
	for _, subject := range slices.Sorted(maps.Keys(n.noted)) {
		p := n.noted[subject]
		p.Noted = true
		s.Problems = append(s.Problems, p)
	}
	s.ObjectErrors = slices.SortedFunc(maps.Values(n.errors), func(a, b kind.ObjectError) int {
		return cmp.Or(cmp.Compare(a.Collection, b.Collection), cmp.Compare(a.Key, b.Key))
	})
	return s
}

// clip bounds a text in bytes and keeps it UTF-8.
func clip(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit-len("…")] + "…"
	}
	return strings.ToValidUTF8(s, "")
}
