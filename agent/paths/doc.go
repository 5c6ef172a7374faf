// Package paths finds out by which ways a node's peers are reached: it is the hands
// of agent/mesh, which decides.
//
// What is known goes into the machine (the intent, the relays that are connected), and
// what happens: probes that come and are answered, what WireGuard devices say of their
// peers. Out of it come probes to send, and choices, which the composition root has
// made into objects. Beside that it collects the candidates of the node itself, each
// with its source and expiry, asks the servers' echo from the port of each device what
// translators make of it, and so knows the class of NAT in each family.
//
// Invariants: nothing that is not authentic, fresh and awaited reaches the machine (see
// proto/disco). What comes from the network is answered at a bounded rate, and waits in
// bounded queues that drop. A change of the node's candidates is told once it has stood
// still for a moment, within a second in any case. No private key is here.
//
// Run owns all goroutines: one that has the machine, those of the sockets, one that
// polls devices, one that resolves names. Other methods may be called at any time.
//
// It makes no route and no device, and speaks to no server.
package paths
