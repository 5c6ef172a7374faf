// Package near finds the name that a person meant: of a setting, or of a field.
//
// Invariants: it answers a name only if one is likelier than a guess, and of two
// that are as near the first. What is compared is bounded: a name that nobody would
// have typed costs nothing.
//
// It knows no names of its own, and changes nothing that was typed.
package near
