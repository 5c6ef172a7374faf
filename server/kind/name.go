package kind

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/weft-net/weft/proto/intent"
)

// Bounds of labels, those of Kubernetes, so that its nodes' labels fit.
const (
	maxLabel  = 63
	maxLabels = 64
)

var labelForm = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`)

func checkLabels(f *findings, labels map[string]string) {
	if len(labels) > maxLabels {
		f.add("metadata.labels", "has %d labels; at most %d are accepted", len(labels), maxLabels)
		return
	}
	for _, k := range sortedKeys(labels) {
		if err := validLabelKey(k); err != nil {
			f.add("metadata.labels", "%v", err)
			continue
		}
		if err := validLabelValue(labels[k]); err != nil {
			f.add("metadata.labels["+k+"]", "%v", err)
		}
	}
}

func validLabelKey(k string) error {
	name := k
	if domain, rest, ok := strings.Cut(k, "/"); ok {
		if err := intent.ValidName(domain); err != nil {
			return fmt.Errorf("key %s: what is before / %w", quote(k), err)
		}
		name = rest
	}
	if len(name) > maxLabel || !labelForm.MatchString(name) {
		return fmt.Errorf("key %s is not accepted; accepted: up to %d of A-Z, a-z, 0-9, and -, _, . between them", quote(k), maxLabel)
	}
	return nil
}

func validLabelValue(v string) error {
	if v != "" && (len(v) > maxLabel || !labelForm.MatchString(v)) {
		return fmt.Errorf("%s is not accepted; accepted: up to %d of A-Z, a-z, 0-9, and -, _, . between them", quote(v), maxLabel)
	}
	return nil
}

// ValidLabels refuses labels that no object may have.
func ValidLabels(labels map[string]string) error {
	f := &findings{}
	checkLabels(f, labels)
	if len(f.errs) > 0 {
		e := f.errs[0]
		return errors.New(strings.TrimPrefix(strings.TrimPrefix(e.Error(), "metadata."), "labels: "))
	}
	return nil
}
