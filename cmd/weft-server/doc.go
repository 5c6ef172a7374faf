// Command weft-server is the control server of a fabric.
//
// It reads its flags, the environment and its file into a server.Config, and
// runs it until SIGTERM or SIGINT.
package main
