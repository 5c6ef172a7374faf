package kind

import (
	"errors"
	"strings"

	"github.com/weft-net/weft/proto/label"
)

const maxLabels = 64 // of an object

func checkLabels(f *findings, labels map[string]string) {
	if len(labels) > maxLabels {
		f.add("metadata.labels", "has %d labels; at most %d are accepted", len(labels), maxLabels)
		return
	}
	for _, k := range sortedKeys(labels) {
		if err := label.ValidKey(k); err != nil {
			f.add("metadata.labels", "%v", err)
			continue
		}
		if err := label.ValidValue(labels[k]); err != nil {
			f.add("metadata.labels["+k+"]", "%v", err)
		}
	}
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
