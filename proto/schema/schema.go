package schema

import (
	"fmt"
	"strconv"

	"github.com/weft-net/weft/proto/note"
)

// Format is one thing that is written.
type Format int

// The formats, in the order of the table.
const (
	AgentFolder Format = iota
	Intent
	Attachment
	Settings
	Pauses
	Servers
	Keyring
	Tailnet
	ServerFolder
	ServerKey
	Credentials
	Token
	Members
	Registration
	Store
	Object
	Identity
	Journal
	Backup
	count // of formats
)

type row struct {
	where   string // as operators find it; A and D are the --data-dir of agent and server
	what    string
	version int
}

// rows is the table. deploy/operating/versions.md shows it, and a test compares.
func rows() [count]row {
	return [count]row{
		AgentFolder:  {"A/schema", "all of an agent's folder", 1},
		Intent:       {"A/intent.json", "the last complete intent", 1},
		Attachment:   {"A/pods/*", "one attachment of a pod", 1},
		Settings:     {"A/sysctl.json", "old values of the host's settings", 1},
		Pauses:       {"A/pause.json", "pauses of healing", 1},
		Servers:      {"A/servers.json", "where the servers are", 1},
		Keyring:      {"A/wireguard.json", "the node's WireGuard keys", 1},
		Tailnet:      {"A/tailscale.json", "what the agent set in Tailscale", 1},
		ServerFolder: {"D/schema", "all of a server's folder but its etcd", 1},
		ServerKey:    {"D/server.key", "the key that unseals the CA's", 1},
		Credentials:  {"D/admin.yaml", "credentials of a user", 1},
		Token:        {"D/agent-token", "a join token", 1},
		Members:      {"D/members.json", "what a server remembers of itself and others", 1},
		Registration: {"/weft/v1/servers/", "one server", 1},
		Store:        {"/weft/v1/fabric/schema", "all of the store", 1},
		Object:       {"/weft/v1/intent/", "one object that was applied", 1},
		Identity:     {"/weft/v1/identity/", "the CA, one node, user or token", 1},
		Journal:      {"/weft/v1/journal/", "a page of events or of the audit", 1},
		Backup:       {"D/backups/*", "the form of a backup", 1},
	}
}

// raise is set by the linker in the build that stands for a later release in
// tests of the refusal; it is empty in every other.
var raise string

// Formats lists all of them.
func Formats() []Format {
	out := make([]Format, count)
	for i := range out {
		out[i] = Format(i)
	}
	return out
}

// Version is the schema that this release writes, and the highest it reads.
func (f Format) Version() int {
	more, _ := strconv.Atoi(raise)
	return rows()[f].version + more
}

// Where it is, as operators find it.
func (f Format) Where() string { return rows()[f].where }

// String says what it holds.
func (f Format) String() string { return rows()[f].what }

// Check refuses a schema that this release does not read. what names the file or
// key that carries it. Higher numbers are a Newer error; others have never been
// written.
func (f Format) Check(what string, found int) error {
	switch {
	case found < 1:
		return fmt.Errorf("%s carries schema %d, and there is none below 1", what, found)
	case found > f.Version():
		return Newer{What: what, Found: found, Reads: f.Version()}
	}
	return nil
}

// Newer says that a later release wrote something.
type Newer struct {
	What    string // file or key
	Found   int    // its schema
	Reads   int    // the highest that we read
	Release string // that raised it, if that is known
}

// Error names both versions, and what to do.
func (e Newer) Error() string {
	by := "the newer release"
	if e.Release != "" {
		by = "release " + e.Release + ", which raised it,"
	}
	return fmt.Sprintf("%s has schema %d, and this release (%s) reads up to %d: run %s again, or put back the backup of before the upgrade; nothing was changed",
		e.What, e.Found, note.Version, e.Reads, by)
}
