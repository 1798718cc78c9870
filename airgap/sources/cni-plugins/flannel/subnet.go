package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// subnet is what flanneld decided for this node.
type subnet struct {
	families   []family // IPv4 before IPv6, at least one
	mtu        int
	masquerade bool // flanneld masquerades, so the plugin must not
}

// family is one address family's part of it.
type family struct {
	network netip.Prefix // of all pods
	subnet  netip.Prefix // of this node's pods
}

// readSubnet reads flanneld's subnet file: lines of KEY=VALUE.
func readSubnet(path string) (*subnet, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("flanneld has not written its subnet file yet: %w", err)
	}
	parsed, err := parseSubnet(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return parsed, nil
}

func parseSubnet(text string) (*subnet, error) {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, found := strings.Cut(strings.TrimSpace(line), "="); found {
			values[key] = value
		}
	}
	node := &subnet{}
	var faults []error
	for _, prefix := range []string{"FLANNEL_", "FLANNEL_IPV6_"} {
		found, err := parseFamily(values, prefix)
		if err != nil {
			faults = append(faults, err)
		} else if found != nil {
			node.families = append(node.families, *found)
		}
	}
	if len(node.families) == 0 && len(faults) == 0 {
		faults = append(faults, errors.New("neither FLANNEL_SUBNET nor FLANNEL_IPV6_SUBNET is there"))
	}
	var err error
	if node.mtu, err = strconv.Atoi(values["FLANNEL_MTU"]); err != nil {
		faults = append(faults, fmt.Errorf("FLANNEL_MTU: %w", err))
	}
	if node.masquerade, err = strconv.ParseBool(values["FLANNEL_IPMASQ"]); err != nil {
		faults = append(faults, fmt.Errorf("FLANNEL_IPMASQ: %w", err))
	}
	return node, errors.Join(faults...)
}

// parseFamily reads one family's two values; nil if neither is there.
func parseFamily(values map[string]string, prefix string) (*family, error) {
	subnetText, hasSubnet := values[prefix+"SUBNET"]
	networkText, hasNetwork := values[prefix+"NETWORK"]
	if !hasSubnet && !hasNetwork {
		return nil, nil
	}
	own, err := netip.ParsePrefix(subnetText)
	if err != nil {
		return nil, fmt.Errorf("%sSUBNET: %w", prefix, err)
	}
	all, err := netip.ParsePrefix(networkText)
	if err != nil {
		return nil, fmt.Errorf("%sNETWORK: %w", prefix, err)
	}
	// The file gives the gateway's address (10.244.1.1/24); plugins want the subnet's.
	return &family{network: all.Masked(), subnet: own.Masked()}, nil
}
