package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"strconv"
)

// figure is one measured number.
type figure struct {
	servers int
	etcd    string
	agents  int
	row     string
	what    string // with its unit
	value   float64
}

var header = []string{"servers", "etcd", "agents", "row", "what", "value"}

// table is the CSV file that figures go to.
type table struct{ path string }

func (t *table) add(f figure) error {
	fmt.Printf("   %-10s %-28s %10.5g\n", f.row, f.what, f.value)
	if t.path == "" {
		return nil
	}
	_, missing := os.Stat(t.path)
	file, err := os.OpenFile(t.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	w := csv.NewWriter(file)
	if missing != nil {
		err = w.Write(header)
	}
	err = errors.Join(err, w.Write([]string{
		strconv.Itoa(f.servers), f.etcd, strconv.Itoa(f.agents), f.row, f.what, strconv.FormatFloat(f.value, 'g', 5, 64),
	}))
	w.Flush()
	return errors.Join(err, w.Error(), file.Close())
}

func readTable(path string) ([]figure, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	lines, err := csv.NewReader(file).ReadAll()
	if err != nil {
		return nil, err
	}
	var out []figure
	for _, l := range lines[min(1, len(lines)):] {
		f := figure{etcd: l[1], row: l[3], what: l[4]}
		var errs [3]error
		f.servers, errs[0] = strconv.Atoi(l[0])
		f.agents, errs[1] = strconv.Atoi(l[2])
		f.value, errs[2] = strconv.ParseFloat(l[5], 64)
		if err := errors.Join(errs[:]...); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		out = append(out, f)
	}
	return out, nil
}
