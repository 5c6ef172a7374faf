package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// unknownCommand is for what stands where a command should.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
		return fmt.Errorf("unknown command %q for %q; did you mean %s?", args[0], cmd.CommandPath(), strings.Join(like, " or "))
	}
	return fmt.Errorf("unknown command %q for %q; see: %s --help", args[0], cmd.CommandPath(), cmd.CommandPath())
}

// sayUsage has a command, and those below it, tell how it is written where cobra
// counts arguments.
func sayUsage(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		sayUsage(sub)
	}
	check := cmd.Args
	if check == nil {
		return
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		err := check(cmd, args)
		if err == nil || !counted(err) {
			return err
		}
		err = fmt.Errorf("write: %s; see: %s --help", cmd.UseLine(), cmd.CommandPath())
		if cmd.Name() == statusName {
			return &exit{exitCannotAsk, err}
		}
		return err
	}
}

// counted tells cobra's errors about arguments from ours.
func counted(err error) bool {
	text := err.Error()
	return strings.HasPrefix(text, "accepts ") || strings.HasPrefix(text, "requires ") || strings.HasPrefix(text, "unknown command ")
}

// flagError says of a flag's value what could be written, where pflag names the
// function that read it.
func flagError(err error) error {
	var bad *pflag.InvalidValueError
	if !errors.As(err, &bad) {
		return err
	}
	accepted, ok := map[string]string{
		"uint32": "a whole number, 0 or more", "uint": "a whole number, 0 or more", "int": "a whole number", "int64": "a whole number",
		"bool": "true or false", "duration": "a time as 90s, 5m or 12h",
	}[bad.GetFlag().Value.Type()]
	if !ok {
		return err
	}
	return fmt.Errorf("--%s %q: write %s", bad.GetFlag().Name, bad.GetValue(), accepted)
}
