// Package underlay chooses which of a node's addresses carry the fabric: at
// most one of each family, or those that the operator named.
//
// Choose is pure: what the kernel has and what was chosen last go in. What the
// operator asks for wins in this order: --node-ip, --iface, --iface-regex,
// --iface-can-reach; else the device of the default route is taken, for each
// family by itself, because the families may use different links.
//
// Invariants: a choice stands while it can, whatever better appears beside it.
// An address that is temporary, deprecated or tentative, that is link-local, or
// that lies on a device of another network stack is never taken unless named.
// When nothing fits, the last choice is kept and the reason is told: a plan
// without addresses would take the whole fabric down.
//
// It looks up no route and reads no kernel.
package underlay
