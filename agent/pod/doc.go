// Package pod keeps the attachments of this node's pods: the CNI verbs, and one
// record on disk for every attachment.
//
// The record comes first: addresses, device and MAC are on the disk before the
// kernel is touched, and an address is given back only after the kernel has let
// go of it. DEL, CHECK, GC and the look for dead namespaces therefore work from
// records alone, after a crash, a reboot, with the namespace or the runtime's
// cache gone. An address is never with two pods.
//
// A record's life is its file's name in the folder: wf….adding while its ADD
// runs, wf….json from its success on, wf….resting once its addresses rest. A
// file that cannot be read is renamed to wf….unreadable. What its pod has is then
// asked of the kernel, stays as it is, and is not given again while the pod's
// device is there; if the kernel cannot tell, no pod is added. The same holds for pods
// that the kernel has and no record tells of, or that it has otherwise: the folder was
// lost, or restored from an old copy.
//
// Pods are routed. The pod end of a veth holds /32 and /128 addresses, with the
// node's fabric address as on-link IPv4 gateway and fe80::1 as IPv6 gateway. What
// the node's side needs is Objects, pure from records, which the reconcile loop
// puts into the kernel as it does everything else.
//
// It never asks a server: addresses come from the node's lease. It programs no
// route and no rule itself, and knows neither netlink nor gRPC.
package pod
