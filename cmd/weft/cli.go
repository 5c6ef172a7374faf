package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
)

// cli is one run of weft: what it reads and writes, and its global flags.
type cli struct {
	in       io.Reader
	out, err io.Writer
	env      func(string) string
	now      func() time.Time
	width    int  // columns of the terminal that out is; 0: it is none
	colours  bool // of the answer
	progress bool // err is a terminal: tell what is waited for

	config      string
	server      string
	agentSocket string
	timeout     time.Duration

	conn   *grpc.ClientConn
	local  *grpc.ClientConn
	others []*grpc.ClientConn // all to servers, conn among them
	index  *kinds

	remembered atomic.Bool // it was said that answers are from memory
	telling    sync.Mutex  // of commands that serve several clients
}

// run executes one command line and answers with the exit status.
func (c *cli) run(ctx context.Context, args []string) int {
	root := c.root()
	root.SetArgs(args)
	root.SetIn(c.in)
	root.SetOut(c.out)
	root.SetErr(c.err)
	err := root.ExecuteContext(ctx)
	c.close()
	return c.report(err)
}

func (c *cli) close() {
	for _, conn := range append(c.others, c.local) {
		if conn != nil {
			_ = conn.Close() // what was asked is answered
		}
	}
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "weft",
		Short:         "weft asks and changes a weft fabric",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          unknownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		// As many letters as a slip of the fingers has.
		SuggestionsMinimumDistance: 2,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		err = fmt.Errorf("%w; see: %s --help", flagError(err), cmd.CommandPath())
		if cmd.Name() == statusName { // its 1 means problems
			return &exit{exitCannotAsk, err}
		}
		return err
	})
	f := root.PersistentFlags()
	f.StringVar(&c.config, "config", "", "operator's credentials (default: WEFT_CONFIG, ~/.config/weft/admin.yaml, /etc/weft/admin.yaml, /var/lib/weft/server/admin.yaml)")
	f.StringVar(&c.server, "server", "", "ask this server, https://HOST:7443, instead of those in the credentials")
	f.DurationVar(&c.timeout, "timeout", 10*time.Second, "how long to wait for one answer")
	f.StringVar(&c.agentSocket, "agent-socket", "", "the agent's socket on this node (default: WEFT_AGENT_SOCKET, /run/weft/agent.sock)")
	root.AddGroup(
		&cobra.Group{ID: groupObjects, Title: "Objects:"},
		&cobra.Group{ID: groupFabric, Title: "The fabric:"},
		&cobra.Group{ID: groupTool, Title: "This tool:"},
	)
	root.SetHelpCommandGroupID(groupTool)
	root.SetCompletionCommandGroupID(groupTool)
	root.AddCommand(
		c.getCommand(), c.describeCommand(), c.applyCommand(), c.replaceCommand(), c.deleteCommand(),
		c.diffCommand(), c.planCommand(), c.editCommand(), c.labelCommand(), c.watchCommand(), c.waitCommand(),
		c.kindsCommand(), c.explainCommand(),
		c.historyCommand(), c.rollbackCommand(), c.confirmCommand(),
		c.eventsCommand(), c.auditCommand(), c.pauseCommand(), c.resumeCommand(), c.logLevelCommand(), c.debugCommand(),
		c.dialCommand(), c.socksCommand(), c.portForwardCommand(),
		c.statusCommand(), c.serverCommand(), c.meshCommand(), c.tokenCommand(), c.backupCommand(), c.whoOwnsCommand(), c.reserveCommand(), c.drainCommand(), c.importCommand(),
		c.userCommand(), c.rotateCommand(), c.renameCommand(),
		c.portsCommand(), c.grpcurlCommand(), c.versionCommand(),
	)
	for _, cmd := range root.Commands() {
		sayUsage(cmd)
	}
	return root
}

// The groups of commands in the help.
const (
	groupObjects = "objects"
	groupFabric  = "fabric"
	groupTool    = "tool"
)

// say tells the person something that is not the answer.
func (c *cli) say(format string, args ...any) { fmt.Fprintf(c.err, format+"\n", args...) }

func (c *cli) print(b []byte) error {
	_, err := c.out.Write(b)
	return err
}

func (c *cli) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(c.out, format, args...)
	return err
}

// subcommandNeeded is what a command does that is only a group of others: a script
// that names none has done nothing, and must hear so.
func subcommandNeeded(cmd *cobra.Command, _ []string) error {
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return fmt.Errorf("%s: give what to do: %s; see: %s --help", cmd.CommandPath(), strings.Join(names, ", "), cmd.CommandPath())
}
