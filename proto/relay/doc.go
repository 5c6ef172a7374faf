// Package relay is what is said on a relay: frames that carry WireGuard's packets of
// a pair of nodes, and probes of that pair, over a server's connection or over another
// node.
//
// A frame to a relay names the node that it is for, one from a relay the node that it
// is of: whoever relays knows the sender by other means than its word. What is carried
// is ciphertext to the relay. A frame of packets holds as many as came at once, all of
// one length but the last, which may be shorter: so do UDP's segmentation offloads
// (Linux, Documentation/networking/segmentation-offloads.rst), and what came as one
// read goes out as one write.
//
// Over a server, a frame is a datagram of package tunnel, and the certificate of the
// session says who sends. Over a node, it is a UDP datagram between fabric addresses,
// in an Envelope: the pair's key says who sends.
//
// Invariants: what is decoded points into the bytes that were given; nothing is
// allocated. A frame that breaks a rule is refused whole. Nobody trusts a name in a
// frame further than to look it up.
package relay
