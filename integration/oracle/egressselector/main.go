// Command egressselector dials as a kube-apiserver does: it reads an
// EgressSelectorConfiguration by k8s.io/apiserver's own package (v0.37.2), gets a URL
// over HTTP through the dialer that this makes for the cluster, and prints the answer.
// So that what weft-server serves, and the file that it prints, are judged by the real
// thing.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"k8s.io/apiserver/pkg/server/egressselector"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: egressselector FILE URL")
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := get(ctx, os.Args[1], os.Args[2], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "egressselector:", err)
		os.Exit(1)
	}
}

func get(ctx context.Context, file, url string, out io.Writer) error {
	config, err := egressselector.ReadEgressSelectorConfiguration(file)
	if err != nil {
		return err
	}
	if bad := egressselector.ValidateEgressSelectorConfiguration(config); len(bad) > 0 {
		return bad.ToAggregate()
	}
	selector, err := egressselector.NewEgressSelector(config)
	if err != nil {
		return err
	}
	dial, err := selector.Lookup(egressselector.Cluster.AsNetworkContext())
	if err != nil {
		return err
	}
	if dial == nil {
		return errors.New("the file has no selection for the cluster")
	}
	client := http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(out, answer.Body)
	return err
}
