// Package subnets reads which subnets another fabric gave to its nodes, from where
// it keeps them: the keys of Flannel's etcd, Flannel's subnet.env, the Nodes of
// Kubernetes.
//
// Everything here comes from outside: sizes are bounded, what is not understood is
// an error that names it, and nothing is guessed. Check finds what is wrong with
// all of them together.
//
// It asks nobody but an etcd (Range), and writes nothing.
package subnets
