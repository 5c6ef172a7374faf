package note

// Version is the release, set by the linker.
var Version = "0.1.0-dev"
