package subnets

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// askLimit bounds one question to an etcd.
const askLimit = 15 * time.Second

// Etcd is where to find an etcd, and how to be let in.
type Etcd struct {
	Endpoints                 []string // https://HOST:PORT
	CAFile, CertFile, KeyFile string
}

// Range reads all keys that begin with a prefix, by etcd's JSON over HTTP (its gRPC
// gateway, on by default), so that the CLI needs no client of etcd.
func (e Etcd) Range(ctx context.Context, prefix string) ([]KV, error) {
	if len(e.Endpoints) == 0 {
		return nil, errors.New("no etcd endpoint is given")
	}
	client, err := e.client()
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	var errs []error
	for _, endpoint := range e.Endpoints {
		kvs, err := ask(ctx, client, strings.TrimSuffix(endpoint, "/"), prefix)
		if err == nil {
			return kvs, nil
		}
		errs = append(errs, fmt.Errorf("etcd %s: %w", endpoint, err))
	}
	return nil, errors.Join(errs...)
}

func (e Etcd) client() (*http.Client, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if e.CAFile != "" {
		pem, err := os.ReadFile(e.CAFile)
		if err != nil {
			return nil, err
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", e.CAFile)
		}
	}
	if e.CertFile != "" || e.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(e.CertFile, e.KeyFile)
		if err != nil {
			return nil, err
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return &http.Client{Timeout: askLimit, Transport: &http.Transport{TLSClientConfig: conf, Proxy: http.ProxyFromEnvironment}}, nil
}

// ask puts one range request (etcd, api/v3rpc: /v3/kv/range).
func ask(ctx context.Context, client *http.Client, endpoint, prefix string) ([]KV, error) {
	body, err := json.Marshal(map[string]any{"key": []byte(prefix), "range_end": end(prefix), "limit": maxSubnets + 1})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint+"/v3/kv/range", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxBytes))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %.200s", resp.Status, b)
	}
	return readRange(b)
}

// readRange reads the answer to a range request.
func readRange(b []byte) ([]KV, error) {
	var answer struct {
		KVs []struct {
			Key   []byte `json:"key"`
			Value []byte `json:"value"`
		} `json:"kvs"`
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		return nil, fmt.Errorf("the answer is not etcd's: %w", err)
	}
	if len(answer.KVs) > maxSubnets {
		return nil, fmt.Errorf("more than %d keys", maxSubnets)
	}
	var out []KV
	for _, kv := range answer.KVs {
		out = append(out, KV{string(kv.Key), string(kv.Value)})
	}
	return out, nil
}

// end is the first key after all that begin with a prefix.
func end(prefix string) []byte {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return b[:i+1]
		}
	}
	return []byte{0}
}
