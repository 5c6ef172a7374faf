// Package nat plans what a node's nftables do to addresses: masquerade of pod
// traffic that leaves the cluster, hostPorts, the clamp of TCP's MSS, and the
// refusal of spoofed sources. It produces all base chains of table inet weft.
//
// Objects is pure. The rules depend on cluster and lease alone; a pod with a
// hostPort only adds elements to maps, so CNI ADD never changes a rule.
//
// What it decides, and why:
//
//   - Nothing is accepted in chain fwdpolicy. Its policy is accept, and an accept
//     of ours does not undo a drop in another table, so such a rule would only
//     cost time. Where this agent itself switched forwarding on, Node.Guard
//     drops new flows that neither come from nor go to the cluster, so that the
//     host does not become a router. Where somebody else had switched it on, or
//     has come since with a chain at the forward hook or a translation of sources
//     (Docker, libvirt, a VPN, firewalld), what they forward is theirs, and there
//     is no guard. Chains of iptables-legacy are not seen: such a host switches
//     forwarding on before weft starts, or moves to iptables-nft.
//   - A pod's datagrams for the fabric's VXLAN port and VNI are dropped, wherever
//     they go: masqueraded, they would come from a node, which is all that a peer
//     asks of a sender. Other VNIs and ports are the pods' own business. No
//     hostPort takes such datagrams from peers.
//   - A pod's own packets to 127.0.0.0/8 are dropped before routing. This makes it
//     safe to set route_localnet on the host ends of pods with IPv4 hostPorts,
//     which is what makes 127.0.0.1:hostPort work on the node (CVE-2020-8558 is
//     the same setting without that rule). The kernel has no such setting for
//     ::1; use another address of the node there.
//   - Only a pod that dials itself through its own hostPort is masqueraded, and the
//     node's loopback; every other peer of a hostPort keeps its address.
//
// It filters no pod traffic (package policy) and makes no system call.
package nat
