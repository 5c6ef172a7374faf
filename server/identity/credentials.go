package identity

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
)

// Accepted are the credentials of a gRPC server whose connections did their TLS
// handshake before it got them: it learns from them who calls.
func Accepted() credentials.TransportCredentials { return accepted{} }

type accepted struct{}

// ServerHandshake implements credentials.TransportCredentials.
func (accepted) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secure, ok := conn.(interface{ ConnectionState() tls.ConnectionState })
	if !ok {
		return nil, nil, errors.New("identity: a connection without TLS")
	}
	state := secure.ConnectionState()
	if !state.HandshakeComplete {
		return nil, nil, errors.New("identity: a connection before its TLS handshake")
	}
	return conn, credentials.TLSInfo{
		State:          state,
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, nil
}

// ClientHandshake implements credentials.TransportCredentials.
func (accepted) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("identity: these are credentials of a server")
}

// Info implements credentials.TransportCredentials.
func (accepted) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials.
func (a accepted) Clone() credentials.TransportCredentials { return a }

// OverrideServerName implements credentials.TransportCredentials.
func (accepted) OverrideServerName(string) error { return nil }
