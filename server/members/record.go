package members

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/weft-net/weft/proto/schema"
	"github.com/weft-net/weft/server/store"
)

// known holds what stays of a server when it is not there; its registration is
// the key without it.
const known = store.Servers + "known/"

func liveKey(name string) string  { return store.Servers + name }
func knownKey(name string) string { return known + name }

// Server is a server as it registers.
type Server struct {
	Schema      int    `json:"schema"`
	Name        string `json:"name"`
	Address     string `json:"address"` // host:port, of agents, operators and servers
	Peer        string `json:"peer,omitempty"`
	Version     string `json:"version"`
	StartedUnix int64  `json:"startedUnix"`
	Instance    string `json:"instance"` // drawn at each start
	// Reads is the highest schema of the store that it reads; 0 from releases that
	// do not say, which read the first.
	Reads int `json:"reads,omitempty"`
}

// Live lists the servers that are registered in a store, by name.
func Live(ctx context.Context, s store.Store) ([]Server, error) {
	entries, _, err := s.List(ctx, store.Servers)
	if err != nil {
		return nil, fmt.Errorf("members: list servers: %w", err)
	}
	var out []Server
	for _, e := range entries {
		if _, live, ok := parse(e.Key); !ok || !live {
			continue
		}
		server, err := decode[Server](e)
		if err != nil {
			return nil, err
		}
		out = append(out, server)
	}
	return out, nil
}

// trace is what stays of a server.
type trace struct {
	Schema      int    `json:"schema"`
	Name        string `json:"name"`
	Address     string `json:"address"`
	Peer        string `json:"peer,omitempty"`
	Version     string `json:"version"`
	StoppedUnix int64  `json:"stoppedUnix,omitempty"` // in good order
	LostUnix    int64  `json:"lostUnix,omitempty"`    // as the leader saw it
	JoiningUnix int64  `json:"joiningUnix,omitempty"` // it was let in then, and has not been ready yet
	Why         string `json:"why,omitempty"`         // it ended by itself
	LowDisk     bool   `json:"lowDisk,omitempty"`     // as it said itself, last
	LowBackups  bool   `json:"lowBackups,omitempty"`  // so
}

func (s Server) trace() trace {
	return trace{Schema: schema.Registration.Version(), Name: s.Name, Address: s.Address, Peer: s.Peer, Version: s.Version}
}

// decode reads a record. One of a later release is read as far as it is known.
func decode[T any](e store.Entry) (T, error) {
	var out T
	if err := json.Unmarshal(e.Value, &out); err != nil {
		return out, fmt.Errorf("members: record %s: %w", e.Key, err)
	}
	return out, nil
}

func encode(record any) []byte {
	b, err := json.Marshal(record)
	if err != nil {
		panic(err) // our own values: a bug
	}
	return b
}

// parse reads a key: the name of a server, and whether it lives.
func parse(key string) (name string, live, ok bool) {
	if name, ok := strings.CutPrefix(key, known); ok {
		return name, false, name != ""
	}
	name, ok = strings.CutPrefix(key, store.Servers)
	return name, true, ok && name != "" && !strings.Contains(name, "/")
}
