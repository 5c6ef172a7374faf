// Package kind is the kinds of object that operators read and write: their
// specs as values, strict decoding with the field named, defaults, and the form
// in which they are stored.
//
// It is pure. What one object must be beside others (overlaps, leases in use) is
// checked by the room that owns the relation.
package kind
