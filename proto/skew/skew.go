package skew

import (
	"fmt"
	"strconv"
)

// protocol is this release's number. 1 is that of all releases that gave none.
const protocol = 2

// How far apart an agent may be from its server.
const (
	behind = 2
	ahead  = 1
)

// shift is set by the linker in a build that stands for a distant release in
// tests; it is empty in every other.
var shift string

// Protocol is the number of what this release says on the stream.
func Protocol() uint32 {
	more, _ := strconv.Atoi(shift)
	return uint32(protocol + more)
}

// Verdict is on an agent and a server.
type Verdict int

// The verdicts.
const (
	Served Verdict = iota
	TooOld         // the agent, for the server
	TooNew         // the agent, for the server
)

// Judge says whether a server serves an agent, by their protocols. 0 is what those
// say that have no number.
func Judge(server, agent uint32) Verdict {
	first, last := Window(server)
	switch agent = max(agent, 1); {
	case agent < first:
		return TooOld
	case agent > last:
		return TooNew
	}
	return Served
}

// Window is the protocols of the agents that a server serves, first and last.
func Window(server uint32) (first, last uint32) {
	server = max(server, 1)
	return max(server, behind+1) - behind, server + ahead
}

// Explain says in an operator's words what is wrong and what to do; empty texts
// for one that is served. Releases are as their binaries print them.
func (v Verdict) Explain(server uint32, serverRelease string, agent uint32, agentRelease string) (cause, remedy string) {
	first, last := Window(server)
	who := fmt.Sprintf("agent of release %s (protocol %d)", agentRelease, max(agent, 1))
	window := fmt.Sprintf("server of release %s, which serves protocols %d to %d", serverRelease, first, last)
	switch v {
	case TooOld:
		return who + " is too old for the " + window, "upgrade weft-agent on this node; its data path stays as it is meanwhile"
	case TooNew:
		return who + " is too new for the " + window, "upgrade weft-server first, or put the earlier weft-agent back; the node's data path stays as it is meanwhile"
	}
	return "", ""
}
