// Package egress is the way from the control plane to nodes that nobody can dial:
// agents hold tunnels to the servers, and what is asked for goes out through them.
//
// Its Gate takes dials (Dial) from front ends. A dial is resolved where its name is
// known, routed by what weft knows of the address, judged by the rules of
// proto/egress, and opened: over the node's tunnel here, over another server that has
// one (one hop, CONNECT with this server's certificate), or from this machine. It
// comes back when the target has accepted, or with a Refusal that says why not.
//
// The cluster's egressSelectorMode says what goes through tunnels; its values mean
// what they mean in K3s. disabled: nothing does, this machine dials all of it.
// agent: addresses of nodes do, so that kubelets behind NAT are reached; pods are
// dialled from here, which needs a node on this machine. pod: addresses that nodes
// lease or announce do as well, and what lies in the cluster's ranges without being
// anybody's goes by any node. cluster: so do addresses of endpoints wherever they
// are, and of services, the latter by any node. In none of them does what is not the
// cluster's go through a tunnel, nor is anything but a node that was asked for by
// name taken for it in mode disabled. In mode agent K3s tunnels two ports of a node
// and dials the others itself; here all of them are tunnelled, and the node's
// declared ports say which are open. "Any node" is one with the label
// weft/default-route=true, else the one with the fewest streams.
//
// A node without a tunnel is refused with the reason (egressFallback closed), or its
// address dialled from here (direct). A node that was asked for by name is never
// replaced so: another place may answer at the same address.
//
// Invariants: nothing is dialled that the rules do not allow, by whichever way; what
// is judged is the address that is then dialled. A lease outweighs whatever nodes say
// of themselves, so that no agent draws another's traffic to itself; of an address
// that several nodes say they have, nobody is dialled. A node's tunnel is the newest
// of the agent's process that holds the name; another process gets it only when that
// one answers no more. A tunnel ends with the certificate that it came with. A dial is
// handed on once, never twice. Dials, tunnels, what is remembered, and how many agents
// are let in a second are bounded.
//
// Goroutines: Run owns one in mode cluster; each tunnel has one here, until it ends;
// a connection that is handed over (Hand, Splice) has one beside its caller's.
//
// It holds no certificate, knows no front end, and decides no permission itself.
package egress
