package members

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/weft-net/weft/server/store"
)

// State is how a server is.
type State string

// States. A learner is ready, but its etcd has no vote yet. The last two are only
// of a store that answers nobody.
const (
	Ready       State = "Ready"
	Learner     State = "Learner"
	Newcomer    State = "Joining" // it was let in, and has not been ready yet
	Stopped     State = "Stopped" // in good order
	Lost        State = "Lost"
	Waiting     State = "Waiting"     // it answers, and is not ready
	Unreachable State = "Unreachable" // it does not answer this server
)

// States are all there are.
var States = []State{Ready, Learner, Newcomer, Stopped, Lost, Waiting, Unreachable}

// joinsFor is how long a server may take from being let in until it is ready: a
// large history is read from a slow disk.
const joinsFor = 5 * time.Minute

// Status is one server at a glance.
type Status struct {
	Server
	State      State
	Leader     bool
	Since      time.Time // of the state
	LowDisk    bool      // it said so, last
	LowBackups bool      // so, of the disk of its backups
	Why        string    // it ended by itself, as it said
}

// list reads servers from the records: pure. leader is the name of who leads.
func list(entries []store.Entry, leader string, members []store.Member, now time.Time) []Status {
	all, disks := map[string]Status{}, map[string]low{}
	for _, e := range entries {
		name, live, ok := parse(e.Key)
		if !ok {
			continue
		}
		if live {
			if s, err := decode[Server](e); err == nil {
				all[name] = Status{Server: s, State: Ready, Leader: name == leader, Since: time.Unix(s.StartedUnix, 0)}
			}
			continue
		}
		t, err := decode[trace](e)
		if err != nil {
			continue
		}
		disks[name] = low{t.LowDisk, t.LowBackups}
		if all[name].State == "" {
			all[name] = t.status(now)
		}
	}
	for _, m := range members {
		s, ok := all[m.Name]
		switch {
		case m.Name == "", m.Self && !ok:
			continue // it has never started, which Add knows; or is about to register
		case !ok && m.Learner:
			s = Status{Server: Server{Name: m.Name}, State: Newcomer}
		case !ok:
			s = Status{Server: Server{Name: m.Name}, State: Lost}
		case m.Learner && s.State == Ready:
			s.State = Learner
		}
		if s.Peer == "" && len(m.PeerURLs) > 0 {
			s.Peer = m.PeerURLs[0]
		}
		all[m.Name] = s
	}
	for name, s := range all {
		s.LowDisk, s.LowBackups = disks[name].data, disks[name].backups
		all[name] = s
	}
	return slices.SortedFunc(maps.Values(all), func(a, b Status) int { return cmp.Compare(a.Name, b.Name) })
}

func (t trace) status(now time.Time) Status {
	s := Status{Server: Server{Name: t.Name, Address: t.Address, Peer: t.Peer, Version: t.Version}, State: Lost, Why: t.Why}
	switch joining := time.Unix(t.JoiningUnix, 0); {
	case t.JoiningUnix != 0:
		if s.Since = joining; now.Sub(joining) < joinsFor {
			s.State = Newcomer
		}
	case t.StoppedUnix != 0:
		s.State, s.Since = Stopped, time.Unix(t.StoppedUnix, 0)
	case t.LostUnix != 0:
		s.Since = time.Unix(t.LostUnix, 0)
	}
	return s
}

// first is the candidate that leads: the oldest that is left.
func first(candidates []store.Entry) (name string, fence store.Cond) {
	if len(candidates) == 0 {
		return "", store.Cond{}
	}
	e := slices.MinFunc(candidates, func(a, b store.Entry) int { return cmp.Compare(a.Created, b.Created) })
	return string(e.Value), store.Cond{Key: e.Key, Revision: e.Revision}
}
