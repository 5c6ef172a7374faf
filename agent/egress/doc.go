// Package egress dials for servers what this node may dial: it serves the streams
// that they open in the node's tunnels.
//
// A request is decoded, its name judged and resolved, each address behind it judged
// by proto/egress, and one that passed is dialled as it was judged: no name is
// resolved twice. The stream is accepted when the connection stands, and what is
// said no to is refused with a code and the rule, its reason and what to do. Then
// both directions are copied, each until its own end.
//
// The node's own file (File) bounds what any server may ask for. One that cannot be
// read, or that others may write, closes everything, also when it was good before:
// whoever edits it mostly means to allow less, and a mistake must not leave open
// what was to be shut; nor may it matter whether the agent was started since. What
// is open goes on, and the node's status says what is wrong in which line.
//
// Invariants: nothing is dialled that Check did not allow; nothing is dialled before
// the node knows its intent, because the policies are in it. A stream holds one file
// and two goroutines, there are at most Config.Streams of them in the process, and
// all of a session end with it. One target that does not answer costs its own
// stream and no other.
//
// Serve owns the goroutines of its session's streams and waits for them; File.Run is
// one. It decides no rule, keeps no tunnel and knows no server.
package egress
