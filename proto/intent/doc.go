// Package intent is what one node should be, as a value.
//
// The server compiles a Node for every agent and sends its objects over
// NodeSync; the agent decodes them, writes them to disk and plans its kernel
// from them. Both sides also evaluate the pure rules that live here, so that
// the server can tell an operator what an agent does without asking it: Path is
// the first of them.
//
// Invariants: every slice is sorted or in an order that is part of the value;
// two equal values mean the same kernel. Decode is the only validation of wire
// bytes: what leaves it is masked, in family order and within bounds.
//
// It reads no file, opens no socket and knows no kernel.
package intent
