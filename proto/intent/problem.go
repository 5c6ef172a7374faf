package intent

// Problem is something that a person should know, with what to do about it.
// Every room of the agent says what is wrong in this one form; the list of all
// of them goes to the server and is what `weft status` prints.
type Problem struct {
	Subject   string // what it is about: a device, a peer, an object's key, a file
	Cause     string // what is wrong
	Remedy    string // what to do, as a line to type where there is one
	SinceUnix int64  // seconds since 1970; 0 until the holder of the list fills it in
}
