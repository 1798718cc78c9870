// Command containerd is the container runtime daemon and its client, ctr, in
// one binary.
//
// It is ctr when started under that name and the daemon under any other. The
// daemon has every built-in plugin of upstream's Linux build but three: the
// btrfs, devmapper and zfs snapshotters, which a static binary cannot have
// or a host does not need (see the tags in recipe.kdl).
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	_ "github.com/containerd/containerd/v2/cmd/containerd/builtins"
	"github.com/containerd/containerd/v2/cmd/containerd/command"
	ctr "github.com/containerd/containerd/v2/cmd/ctr/app"
)

func main() {
	name, app := "containerd", command.App
	if filepath.Base(os.Args[0]) == "ctr" {
		name, app = "ctr", ctr.New
	}
	if err := app().Run(context.Background(), os.Args); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %s\n", name, err)
		os.Exit(1)
	}
}
