// Package relay carries WireGuard's packets of a pair of nodes where nothing carries
// them straight: over a server, or over another node.
//
// To WireGuard a relay is an address on this machine. For each peer and slot there is a
// port of UDP on 127.0.0.1, which is the endpoint of that peer in the device of that
// slot. What the device sends there goes over the relay that Use names; what comes for
// the pair, over whichever relay, is sent from that port to the device. So the device
// sees one address that does not change, whatever happens behind it. Probes of package
// paths travel the same way and are handed to who probes.
//
// Over a server: a tunnel of its own to each server that the node knows, apart from the
// stream and from the tunnel of dials; who keeps it is agent/uplink. Both ends of a pair
// are connected to every server, so no server hands anything to another. Over a node:
// UDP between fabric addresses, by whatever way the two nodes reach each other, sealed
// with a key that only the two know. A node carries for others only while it has the
// label weft/relay=true and half a minute longer, in which pairs leave it; only between
// nodes of the fabric, and never to a node that it reaches over another itself.
//
// Invariants:
//   - Nothing here waits for anything: what cannot go now is thrown away and counted.
//     TCP below a server's relay is never written to by who reads.
//   - Ports are remembered on disk, and taken again after a restart: the device still
//     sends there. A port that somebody else has by then is replaced, and told of.
//   - A port takes packets from the device of its slot alone, and only the kernel can
//     say that (a connected socket).
//   - If the relay that Use names is gone, what is sent goes over another one at once;
//     which is right is for who chooses to say.
//   - Per packet nothing is allocated. Queues, ports, and what is carried for others are
//     bounded.
//
// What asks for a session of WireGuard over a relay that the peer is yet to join is sent
// again until something comes: the device itself would wait for 5 s.
//
// It chooses no path, holds no key of WireGuard's, and opens no tunnel. Run owns a
// goroutine that looks after connections, one that asks again, one for relaying over
// nodes, and one for each port; who keeps the tunnels has each served.
package relay
