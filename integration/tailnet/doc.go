// Package tailnet tests a fabric on nodes of a real tailnet: tailscaled, as Tailscale
// releases it, in the namespaces of package lab, with Headscale for a control server
// and for a relay (DERP). make test-tailscale builds these programs and runs the tests.
//
// It is a module of its own, and no part of make test: the programs take some minutes
// to build. It also holds the stand-in of package tailscaletest to what the real
// program does, by one suite for both.
//
// Daemons run in mount namespaces with an /etc and a /run of their own: what tailscaled
// does to a machine's DNS is not done to this one's.
package tailnet
