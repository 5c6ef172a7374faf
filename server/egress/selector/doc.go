// Package selector writes the file by which a kube-apiserver reaches nodes through a
// front end of weft-server: an EgressSelectorConfiguration, with the lines that
// kube-apiserver, K3s and RKE2 need for it as comments.
//
// Invariants: it is pure, and what it writes is one YAML document that any
// kube-apiserver since 1.20 reads.
//
// It looks at no file: whether sockets and certificates are where it says is seen by
// who starts the kube-apiserver.
package selector
