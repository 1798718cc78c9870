package main

import (
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/etcdutl/v3/etcdutl"
)

// lockTimeout is how long etcdutl waits for a running server to let go of a
// database file, unless --timeout says otherwise (upstream's default).
const lockTimeout = 10 * time.Second

// etcdutlCommand assembles etcdutl from its subcommands: upstream keeps the
// root command in a main package, which cannot be imported.
func etcdutlCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "etcdutl",
		Short: "An administrative command line tool for etcd3.",
	}
	flags := root.PersistentFlags()
	flags.DurationVar(&etcdutl.FlockTimeout, "timeout", lockTimeout,
		"time to wait for the lock on a database file, 0 to wait for ever")
	flags.StringVarP(&etcdutl.OutputFormat, "write-out", "w", "simple",
		"output format: fields, json, protobuf, simple or table")
	root.AddCommand(
		etcdutl.NewDefragCommand(),
		etcdutl.NewSnapshotCommand(),
		etcdutl.NewHashKVCommand(),
		etcdutl.NewVersionCommand(),
		etcdutl.NewCompletionCommand(),
		etcdutl.NewMigrateCommand(),
	)
	return root
}
