// Command flanneld gives each node its part of the pod network, as upstream's
// flanneld does, with upstream's packages and under upstream's flag names, but
// only in the ways that a cluster of ours uses:
//
//   - subnets come from the Kubernetes API (--kube-subnet-mgr), never from etcd;
//   - the backends are vxlan and host-gw;
//   - packet filter rules are nftables', written through the program `nft`.
//
// Flow: read the network configuration; find the interface to the other nodes;
// take this node's lease and set up the backend; install the rules; write
// the subnet file that the CNI plugin reads; run until a signal comes.
//
// Guarantees: the subnet file appears only after the rules are in place, and
// /readyz answers 200 only after the subnet file is written. On a signal it
// ends without taking rules, routes or the file away, so that pods stay
// connected across a restart or an upgrade.
//
// Limits: a setting that asks for anything else (a configuration without
// EnableNFTables, another backend, another subnet manager) is an error at start,
// not a silent fallback. One of NODE_NAME, or POD_NAME and POD_NAMESPACE, must
// be in the environment: that is how upstream's subnet manager finds its node.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/flannel-io/flannel/pkg/version"
	"k8s.io/klog/v2"
)

// Exit statuses: the work failed, and the command line is wrong.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	opts, err := parseOptions(os.Args[0], os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintf(os.Stderr, "flanneld: %s\n", err)
		os.Exit(exitUsage)
	case opts.version:
		fmt.Println(version.Version)
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, opts); err != nil {
		klog.Errorf("flanneld: %s", err)
		klog.Flush()
		os.Exit(exitFailed)
	}
	klog.Info("ended on a signal; rules, routes and the subnet file stay")
}
