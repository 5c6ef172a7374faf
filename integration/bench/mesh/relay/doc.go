// Command relay measures how much of wireguard-go's throughput is left when its packets go over
// a server: two nodes in two network namespaces, a server in a third, TCP through the
// tunnel, straight and relayed in turn. What is relayed goes through the product's rooms
// (agent/relay, server/relay, tunnel) over TLS, each in a process of its own, as on real
// nodes; the devices are processes of their own too, and the same in both. A pair may send
// as much over the server as it may by default.
package main
