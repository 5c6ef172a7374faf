package mesh

import "time"

// How often and how long. Times are as issue and operators want them: a dead way is
// left about a second after traffic met it, a better one is taken once it has been
// there for 5 s, and 1,000 idle peers cost some hundred datagrams a second.
const (
	quick   = 300 * time.Millisecond // between probes of a line that is in use, or in doubt
	slow    = 10 * time.Second       // at most, of a line without traffic
	unclear = 2 * time.Second        // at most, of a line of which nobody says whether there is traffic
	inUse   = 10 * time.Second       // that a pair counts as in use after traffic

	misses = 3 // in a row: the way is dead

	steady    = 5 * time.Second // that a better way must have answered
	steadyMax = 5 * time.Minute // where it has died again and again
	forgiven  = 10 * time.Minute

	chase   = 250 * time.Millisecond // between probes of other ways while the one in use is in doubt
	burst   = 200 * time.Millisecond // between the tries of a round
	climb   = time.Second            // between probes of a way that would be better
	warmMin = 5 * time.Second        // between probes of the trail in use and the next best
	warmMax = 25 * time.Second       // below the 30 s that the hastiest routers keep a UDP mapping for (RFC 4787, section 4.3 asks for 2 min)
	spare   = time.Minute            // between probes of a line that works and is worse

	roundMin = time.Second // between rounds of tries, doubling
	roundMax = 5 * time.Minute
	tries    = 3 // of a round

	calls = 500 * time.Millisecond // between rounds that a peer may call for

	awaits  = 10 * time.Second       // a relay, before routers are opened without a word to the peer
	opener  = 200 * time.Millisecond // then, from the datagram that opens our own router to the first that reaches the peer's
	opens   = 5 * time.Second        // that a router counts as opened
	silence = 35 * time.Second       // after a failure: netfilter forgets what nobody answered after 30 s (nf_conntrack_udp_timeout)
	forgets = 31 * time.Second       // of silence are enough for the end that is called

	holdMin = 500 * time.Millisecond
	holdMax = 10 * time.Second // then the kernel's own endpoint is taken for the better knowledge
	again   = 200 * time.Millisecond

	firstGuess = 3 * time.Second // without an answer: send to the likeliest address

	lookIdle = time.Second
	lookHold = 100 * time.Millisecond

	keepalive = 25 * time.Second // as WireGuard's own documentation advises behind NAT
)

// Bounds of a tunnel's trails.
const (
	maxTrails = 24
	maxHeard  = 8 // of them, addresses that only packets told
	maxNodes  = 4 // of them, over other nodes
	maxChased = 8 // at once
)

// clamp bounds d.
func clamp(d, low, high time.Duration) time.Duration { return min(max(d, low), high) }
