package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"github.com/flannel-io/flannel/pkg/backend"
	_ "github.com/flannel-io/flannel/pkg/backend/hostgw" // Backend.Type "host-gw"
	_ "github.com/flannel-io/flannel/pkg/backend/vxlan"  // Backend.Type "vxlan"
	"github.com/flannel-io/flannel/pkg/ipmatch"
	"github.com/flannel-io/flannel/pkg/subnet"
	"github.com/flannel-io/flannel/pkg/subnet/kube"
	"k8s.io/klog/v2"
)

// serve brings the node into the network and keeps it there until ctx ends.
// It returns nil only for that.
func serve(ctx context.Context, opts *options) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()

	ready, err := startHealthz(ctx, opts)
	if err != nil {
		return err
	}
	manager, config, err := openSubnets(ctx, opts)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	network, err := join(ctx, opts, manager, config, &running)
	if err != nil {
		return unlessEnded(ctx, err)
	}
	if err := installRules(ctx, opts, config, network.Lease()); err != nil {
		return unlessEnded(ctx, err)
	}
	lease := network.Lease()
	if err := manager.HandleSubnetFile(opts.subnetFile, config, opts.masquerade, lease.Subnet, lease.IPv6Subnet, network.MTU()); err != nil {
		return fmt.Errorf("cannot write %s: %w", opts.subnetFile, err)
	}
	ready.Store(true)
	klog.Infof("ready: subnet %s %s, mtu %d, written to %s", lease.Subnet, lease.IPv6Subnet, network.MTU(), opts.subnetFile)

	stopped := make(chan struct{})
	running.Go(func() {
		defer close(stopped)
		network.Run(ctx)
	})
	if err := manager.CompleteLease(ctx, lease, &running); err != nil {
		return unlessEnded(ctx, fmt.Errorf("cannot mark the node's network as available: %w", err))
	}
	<-stopped
	return unlessEnded(ctx, errors.New("the backend stopped following the other nodes"))
}

// unlessEnded drops an error that is only the echo of a signal.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// openSubnets connects to the API server and reads the network configuration.
func openSubnets(ctx context.Context, opts *options) (subnet.Manager, *subnet.Config, error) {
	if err := checkNetworkFile(opts.networkFile); err != nil {
		return nil, nil, err
	}
	manager, err := kube.NewSubnetManager(ctx, opts.apiURL, opts.kubeconfig, opts.annotations, opts.networkFile, opts.setNodeReady)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot start the subnet manager: %w", err)
	}
	config, err := manager.GetNetworkConfig(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the network configuration: %w", err)
	}
	return manager, config, nil
}

// checkNetworkFile refuses a network configuration that this build cannot
// carry out, all faults at once, before anything on the node changes.
func checkNetworkFile(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err // names the path itself
	}
	config, err := subnet.ParseConfig(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	var faults []error
	if !config.EnableNFTables {
		faults = append(faults, fmt.Errorf("%s: \"EnableNFTables\" is not true: only nftables is built in", path))
	}
	if config.BackendType != "vxlan" && config.BackendType != "host-gw" {
		faults = append(faults, fmt.Errorf("%s: backend %q: only vxlan and host-gw are built in", path, config.BackendType))
	}
	if config.EnableIPv4 && config.Network.Empty() {
		faults = append(faults, fmt.Errorf("%s: \"Network\" is missing", path))
	}
	if config.EnableIPv6 && config.IPv6Network.Empty() {
		faults = append(faults, fmt.Errorf("%s: \"IPv6Network\" is missing", path))
	}
	return errors.Join(faults...)
}

// join takes the node's lease and sets up its backend: device, routes, annotations.
func join(ctx context.Context, opts *options, manager subnet.Manager, config *subnet.Config, running *sync.WaitGroup) (backend.Network, error) {
	stack, err := ipmatch.GetIPFamily(config.EnableIPv4, config.EnableIPv6)
	if err != nil {
		return nil, fmt.Errorf("neither EnableIPv4 nor EnableIPv6 is set: %w", err)
	}
	external, err := findInterface(opts, stack, publicAddresses(ctx, opts, manager))
	if err != nil {
		return nil, err
	}
	chosen, err := backend.NewManager(ctx, manager, external).GetBackend(config.BackendType)
	if err != nil {
		return nil, fmt.Errorf("cannot create the %s backend: %w", config.BackendType, err)
	}
	network, err := chosen.RegisterNetwork(ctx, running, config)
	if err != nil {
		return nil, fmt.Errorf("cannot set up the %s backend on %s: %w", config.BackendType, external.IfaceName, err)
	}
	return network, nil
}

// publicAddresses is the command line's, unless an annotation on the node overrides it.
func publicAddresses(ctx context.Context, opts *options, manager subnet.Manager) ipmatch.PublicIPOpts {
	public := ipmatch.PublicIPOpts{PublicIP: opts.publicIP, PublicIPv6: opts.publicIPv6}
	v4, v6 := manager.GetStoredPublicIP(ctx)
	if v4 != "" {
		public.PublicIP = v4
	}
	if v6 != "" {
		public.PublicIPv6 = v6
	}
	return public
}

// findInterface picks the interface to the other nodes: the first that a flag
// names or matches; with no flag the one that has the public address, and
// without one that of the default route.
func findInterface(opts *options, stack int, public ipmatch.PublicIPOpts) (*backend.ExternalInterface, error) {
	var tries [][3]string // name or address, pattern, address to reach
	for _, name := range opts.interfaces {
		tries = append(tries, [3]string{name, "", ""})
	}
	for _, pattern := range opts.interfaceRegex {
		tries = append(tries, [3]string{"", pattern, ""})
	}
	if opts.canReach != "" {
		if net.ParseIP(opts.canReach) == nil {
			return nil, fmt.Errorf("--iface-can-reach %q: not an address", opts.canReach)
		}
		tries = append(tries, [3]string{"", "", opts.canReach})
	}
	if len(tries) == 0 {
		address := public.PublicIP
		if address == "" {
			address = public.PublicIPv6
		}
		tries = append(tries, [3]string{address, "", ""})
	}
	var faults []error
	for _, try := range tries {
		found, err := ipmatch.LookupExtIface(try[0], try[1], try[2], stack, public)
		if err == nil {
			return found, nil
		}
		faults = append(faults, err)
	}
	return nil, fmt.Errorf("no interface to the other nodes (name one with --iface): %w", errors.Join(faults...))
}
