package main

import (
	"context"
	"fmt"

	"github.com/flannel-io/flannel/pkg/ip"
	"github.com/flannel-io/flannel/pkg/lease"
	"github.com/flannel-io/flannel/pkg/subnet"
	"github.com/flannel-io/flannel/pkg/trafficmngr/nftables"
)

// noResync is the resync period: the nftables manager replaces its own tables
// in one transaction and never looks at the period.
const noResync = 0

// installRules writes flannel's tables, flannel-ipv4 and flannel-ipv6. Each
// run replaces what an earlier one wrote, so the earlier subnet need not be known.
func installRules(ctx context.Context, opts *options, config *subnet.Config, own *lease.Lease) error {
	manager := &nftables.NFTablesManager{}
	if err := manager.Init(ctx); err != nil {
		return fmt.Errorf("cannot write nftables rules (is nft installed, and the kernel's nf_tables there?): %w", err)
	}
	if opts.masquerade {
		if err := manager.SetupAndEnsureMasqRules(ctx,
			config.Network, ip.IP4Net{}, ip.IP4Net{},
			config.IPv6Network, ip.IP6Net{}, ip.IP6Net{},
			own, noResync, opts.notFullyRandom); err != nil {
			return fmt.Errorf("cannot write the masquerade rules: %w", err)
		}
	}
	if opts.forwardRules {
		manager.SetupAndEnsureForwardRules(ctx, config.Network, config.IPv6Network, noResync)
	}
	return nil
}
