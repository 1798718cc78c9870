// Command containerd-shim-runc-v2 sits between containerd and runc: one runs
// for each pod, outlives a restart of containerd, and so must be a small
// binary of its own.
package main

import (
	"context"

	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/manager"
	_ "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/task/plugin"
	"github.com/containerd/containerd/v2/pkg/shim"
)

// runtimeName is the name that containerd's configuration gives as runtime_type.
const runtimeName = "io.containerd.runc.v2"

func main() {
	shim.RunShim(context.Background(), manager.NewShimManager(runtimeName))
}
