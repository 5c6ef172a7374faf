// Package label is the labels of objects, and the selectors that pick objects by
// them, as Kubernetes writes both. Servers and agents pick nodes by the same rules.
//
// It is pure, and knows no kind of object.
package label
