package push

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
)

// Bounds on what one node can make the server remember.
const (
	maxProblems     = 256
	maxObjectErrors = 1024
	maxSentence     = 1024 // bytes of a cause, a remedy, an error
	maxSubject      = 512
)

// A name that two machines use is noticed when one takes a live stream over from
// the other, or when streams take turns this often.
const (
	turnsWithin = time.Minute
	turnsMany   = 3
	doubleKept  = 10 * time.Minute
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
	Applied      int64  // revision
	Sent         int64  // revision
	Endpoints    int
	Problems     []kind.Problem
	ObjectErrors []kind.ObjectError
}

// node is what is known of one node, over all its streams.
type node struct {
	name string

	storing   sync.Mutex // held while its report is written
	stored    []byte     // the report that we wrote last
	storedRev int64
	pending   *kind.ReportSpec // a report that the store did not take

	mu        sync.Mutex
	status    Status // but for problems and object errors
	reports   []kind.Problem
	noted     map[string]kind.Problem // what the server noticed, by subject
	errors    map[ref]kind.ObjectError
	endpoints map[string][]byte // as stored, by key; nil before the first full list
	turns     []time.Time       // when a live stream was replaced
	double    time.Time         // when two machines were noticed last
}

func newNode(name string) *node {
	return &node{name: name, status: Status{Node: name}, noted: map[string]kind.Problem{}, errors: map[ref]kind.ObjectError{}}
}

func (n *node) heard() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.status.Heard = time.Now()
}

func (n *node) came(hello *weftv1.Hello, remote string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	n.status = Status{
		Node: n.name, Connected: true, Since: now, Heard: now, Remote: remote,
		Version: hello.GetVersion(), Machine: hello.GetMachine(), Boot: hello.GetBoot(),
	}
	n.reports = nil
	clear(n.errors)
	delete(n.noted, reportSubject)
	delete(n.noted, endpointSubject)
}

func (n *node) left() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.status.Connected, n.status.Since = false, time.Now()
}

// replaced notes that a stream takes over from one that is alive. One of the same
// boot is the same agent on a new connection: its address changed.
func (n *node) replaced(old, by *stream) {
	if old.machine == by.machine && old.boot == by.boot {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	n.turns = slices.DeleteFunc(n.turns, func(t time.Time) bool { return now.Sub(t) > turnsWithin })
	n.turns = append(n.turns, now)
	machines := old.machine != by.machine
	if !machines && len(n.turns) < turnsMany {
		return // a node that booted
	}
	who := fmt.Sprintf("machines %s and %s", old.machine, by.machine)
	if !machines {
		who = fmt.Sprintf("agents of boots %s and %s on machine %s", old.boot, by.boot, by.machine)
	}
	n.double = now
	n.noted["agent"] = kind.Problem{
		Subject: "agent", SinceUnix: now.Unix(),
		Cause:  fmt.Sprintf("%s both speak as node %s and take its stream from each other", who, n.name),
		Remedy: "stop one of them; if its data folder was copied, empty it and join under another --node-name",
	}
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

func (n *node) reported(ps []*weftv1.Problem) {
	var out []kind.Problem
	for _, p := range ps[:min(len(ps), maxProblems)] {
		out = append(out, kind.Problem{
			Subject: clip(p.GetSubject(), maxSubject), Cause: clip(p.GetCause(), maxSentence),
			Remedy: clip(p.GetRemedy(), maxSentence), SinceUnix: p.GetSinceUnix(),
		})
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reports = out
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
	if !n.double.IsZero() && time.Since(n.double) > doubleKept {
		n.double = time.Time{}
		delete(n.noted, "agent")
	}
	s := n.status
	s.Endpoints = len(n.endpoints)
	s.Problems = slices.Clone(n.reports)
	for _, subject := range slices.Sorted(maps.Keys(n.noted)) {
		s.Problems = append(s.Problems, n.noted[subject])
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
