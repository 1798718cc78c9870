package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
)

// Where things are unless the configuration says otherwise.
const (
	defaultSubnetFile = "/run/flannel/subnet.env"
	defaultDataDir    = "/var/lib/cni/flannel"
	defaultDelegate   = "bridge"
)

// netConfig is the plugin's configuration.
type netConfig struct {
	types.NetConf
	SubnetFile    string         `json:"subnetFile"`
	DataDir       string         `json:"dataDir"`
	Delegate      map[string]any `json:"delegate"`
	OwnIPAM       map[string]any `json:"ipam"`
	RuntimeConfig map[string]any `json:"runtimeConfig"`
}

// parseConfig decodes the configuration and fills in the defaults.
func parseConfig(text []byte) (*netConfig, error) {
	config := &netConfig{SubnetFile: defaultSubnetFile, DataDir: defaultDataDir}
	if err := json.Unmarshal(text, config); err != nil {
		return nil, fmt.Errorf("cannot decode the network configuration: %w", err)
	}
	return config, nil
}

// stateFile is where the delegate's configuration for one interface of one container is kept.
// The id is an identifier that the CNI library has checked: it holds no slash.
func (c *netConfig) stateFile(args *skel.CmdArgs) string {
	return filepath.Join(c.DataDir, args.ContainerID+"-"+args.IfName)
}

// delegated makes the configuration of the plugin that does the work.
func (c *netConfig) delegated(node *subnet) (map[string]any, error) {
	made := maps.Clone(c.Delegate)
	if made == nil {
		made = map[string]any{}
	}
	if err := c.checkDelegate(made); err != nil {
		return nil, err
	}
	setDefault(made, "type", defaultDelegate)
	setDefault(made, "mtu", node.mtu)
	// flanneld masquerades itself or leaves it to the plugin, never both.
	setDefault(made, "ipMasq", !node.masquerade)
	if made["type"] == defaultDelegate {
		setDefault(made, "isGateway", true)
	}
	made["name"] = c.Name
	if c.CNIVersion != "" {
		made["cniVersion"] = c.CNIVersion
	}
	if c.RuntimeConfig != nil {
		made["runtimeConfig"] = c.RuntimeConfig
	}
	made["ipam"] = c.addresses(node)
	return made, nil
}

// checkDelegate refuses keys that are flannel's to decide.
func (c *netConfig) checkDelegate(delegate map[string]any) error {
	var faults []error
	for _, key := range []string{"name", "ipam"} {
		if _, given := delegate[key]; given {
			faults = append(faults, fmt.Errorf("\"delegate\" must not have %q", key))
		}
	}
	if kind, given := delegate["type"]; given {
		if name, text := kind.(string); !text || name == "" {
			faults = append(faults, errors.New("\"delegate\": \"type\" is not a plugin's name"))
		}
	}
	return errors.Join(faults...)
}

// addresses makes the ipam part: the node's subnets as ranges and the pod
// network's as routes. Routes of the configuration are kept.
func (c *netConfig) addresses(node *subnet) map[string]any {
	ipam := maps.Clone(c.OwnIPAM)
	if ipam == nil {
		ipam = map[string]any{}
	}
	setDefault(ipam, "type", "host-local")
	var ranges []any
	routes, _ := ipam["routes"].([]any)
	for _, family := range node.families {
		ranges = append(ranges, []any{map[string]any{"subnet": family.subnet.String()}})
		routes = append(routes, map[string]any{"dst": family.network.String()})
	}
	ipam["ranges"], ipam["routes"] = ranges, routes
	return ipam
}

// setDefault sets a key that is not there.
func setDefault(object map[string]any, key string, value any) {
	if _, given := object[key]; !given {
		object[key] = value
	}
}
