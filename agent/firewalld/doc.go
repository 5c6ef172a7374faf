// Package firewalld asks firewalld for the openings that weft needs, over D-Bus, as
// firewall-cmd does: weft's devices into zone trusted, the fabric's ports into the
// zone of the uplink.
//
// Only what runs is changed, never what firewalld keeps: its restart or reload
// brings back what its operator wrote, and whoever called Open calls it again. Close
// takes back what runs and is not kept; what is kept is the operator's.
//
// There is one connection a call of Open or Close, with a deadline. It decides nothing about who needs an
// opening.
package firewalld
