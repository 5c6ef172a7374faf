// Package document turns the files that operators write into resources and back.
//
// Invariants: what is not understood is refused, never dropped: unknown fields
// of an object, a key that is there twice, more than one meaning of a number.
// An error names the file, the line and the field. What Marshal and JSON write,
// Read takes; equal resources give equal bytes. Input is bounded in size, in
// documents, in nodes and in depth, also when it refers to itself.
//
// It knows no kind: what a spec may hold is the server's to say.
package document
