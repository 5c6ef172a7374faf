package push

import (
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
)

// What an agent says is read in one way, also by who rebuilds a store from it.

// Welcome is the first message of a stream.
func Welcome() *weftv1.SyncResponse { return welcome("") }

// Backoff asks an agent to come back later, and says why.
func Backoff(seconds uint32, reason string) *weftv1.SyncResponse { return backoff(seconds, reason) }

// Carried is what a node says of itself: its report, and the prefixes that it
// says it was leased.
func Carried(hello *weftv1.Hello) (kind.Claim, error) {
	spec, err := readReport(hello.GetReport())
	if err != nil {
		return kind.Claim{}, err
	}
	return kind.Claim{Node: hello.GetNode(), Prefixes: carried(hello.GetReport()), Report: spec, Revision: hello.GetRevision()}, nil
}

// Claim reads a peer that an agent carries.
func Claim(peer []byte, revision int64) (kind.Claim, error) { return readClaim(peer, revision) }
