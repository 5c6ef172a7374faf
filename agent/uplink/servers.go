package uplink

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"slices"

	"github.com/weft-net/weft/agent/datadir"
	"github.com/weft-net/weft/proto/note"
	"github.com/weft-net/weft/proto/schema"
)

const (
	serversName = "servers.json"
	maxServers  = 64 // that a server can make an agent remember
)

// serversFile is where the fabric's servers were, as the last one told.
type serversFile struct {
	Schema  int      `json:"schema"`
	Servers []string `json:"servers"`
}

// loadServers reads which servers there are beside the configured ones. A file
// that makes no sense is none: the next server tells them again.
func loadServers(dir *datadir.Dir) ([]string, error) {
	b, err := dir.Read(serversName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("uplink: %w", err)
	}
	return decodeServers(b), nil
}

func decodeServers(b []byte) []string {
	var f serversFile
	if json.Unmarshal(b, &f) != nil || f.Schema != schema.Servers.Version() {
		return nil
	}
	return sensible(f.Servers)
}

// sensible leaves out what is no HOST:PORT, and what is too much.
func sensible(servers []string) []string {
	var out []string
	for _, s := range servers {
		if at, err := ParseServer(s); err == nil && !slices.Contains(out, at) && len(out) < maxServers {
			out = append(out, at)
		}
	}
	return out
}

// learn takes the list of servers as one of them tells it.
func (u *Uplink) learn(servers []string) {
	servers = sensible(servers)
	if len(servers) == 0 || !u.order.learn(servers) {
		return
	}
	for _, t := range u.kept() {
		t.Kick()
	}
	b, err := json.Marshal(serversFile{Schema: schema.Servers.Version(), Servers: servers})
	if err == nil {
		err = u.dir.Write(serversName, b)
	}
	if err != nil {
		u.cfg.Log.Warn("servers not remembered", note.Err, err)
		return
	}
	u.cfg.Log.Info("servers learned", note.Of, len(servers))
}

// spread puts servers into the order in which a node tries them: another one for
// each node, and nearly the same when one comes or goes (rendezvous hashing, Thaler
// and Ravishankar 1998), so that the nodes of a fabric share its servers evenly.
func spread(node string, servers []string) []string {
	weight := func(s string) uint64 {
		h := fnv.New64a()
		_, _ = h.Write([]byte(node + "\x00" + s))
		// FNV of texts that differ only at the end differs little in its upper bits.
		x := h.Sum64()
		x ^= x >> 33
		x *= 0xff51afd7ed558ccd
		return x ^ x>>33
	}
	out := slices.Clone(servers)
	slices.SortStableFunc(out, func(a, b string) int {
		switch wa, wb := weight(a), weight(b); {
		case wa > wb:
			return -1
		case wa < wb:
			return 1
		}
		return 0
	})
	return out
}
