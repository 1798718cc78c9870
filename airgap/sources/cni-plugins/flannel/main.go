// Command flannel is the CNI plugin that connects a pod to the subnet that
// flanneld took for the node.
//
// It does no networking itself. It reads the subnet file that flanneld wrote,
// makes of it the configuration of another plugin (bridge, unless "delegate"
// names one), and hands the call on:
//
//  1. ADD writes that configuration to DATADIR/CONTAINER-INTERFACE first, then calls the
//     delegate: whatever happens after, DEL can undo it.
//  2. DEL reads it back, calls the delegate and takes the file away. Without a
//     file there is nothing to undo, which is success.
//  3. CHECK calls the delegate with the stored configuration.
//  4. STATUS fails as long as there is no subnet file, which is how a runtime learns
//     that the network is not up yet.
//
// Configuration, result and subnet file are those of flannel's own plugin, which
// is not to be had as a Go module; the code is not. A configuration may have "subnetFile"
// (default /run/flannel/subnet.env), "dataDir" (default /var/lib/cni/flannel),
// "delegate" and "ipam" objects, whose keys win over the derived ones where
// they do not contradict flanneld. GC is not offered: the runtime's DEL suffices.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
	"github.com/containernetworking/plugins/pkg/utils/buildversion"
)

// notReady is the code that the specification gives a STATUS that says "not available".
const notReady = 50

func main() {
	skel.PluginMainFuncs(skel.CNIFuncs{
		Add:    add,
		Del:    del,
		Check:  check,
		Status: status,
	}, version.All, buildversion.BuildString("flannel"))
}

func add(args *skel.CmdArgs) error {
	config, err := parseConfig(args.StdinData)
	if err != nil {
		return err
	}
	node, err := readSubnet(config.SubnetFile)
	if err != nil {
		return err
	}
	delegated, err := config.delegated(node)
	if err != nil {
		return err
	}
	encoded, err := json.Marshal(delegated)
	if err != nil {
		return err
	}
	if err := save(config, args, encoded); err != nil {
		return err
	}
	result, err := invoke.DelegateAdd(context.TODO(), pluginOf(delegated), encoded, nil)
	if err != nil {
		return fmt.Errorf("plugin %s: %w", pluginOf(delegated), err)
	}
	return types.PrintResult(result, config.CNIVersion)
}

func del(args *skel.CmdArgs) error {
	config, err := parseConfig(args.StdinData)
	if err != nil {
		return err
	}
	encoded, plugin, err := load(config, args)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := invoke.DelegateDel(context.TODO(), plugin, encoded, nil); err != nil {
		return fmt.Errorf("plugin %s: %w", plugin, err)
	}
	return forget(config, args)
}

// check passes on the previous result that the runtime gives, which the delegate needs to compare.
func check(args *skel.CmdArgs) error {
	config, err := parseConfig(args.StdinData)
	if err != nil {
		return err
	}
	encoded, plugin, err := load(config, args)
	if err != nil {
		return err
	}
	encoded, err = withPrevious(encoded, args.StdinData)
	if err != nil {
		return err
	}
	return invoke.DelegateCheck(context.TODO(), plugin, encoded, nil)
}

func status(args *skel.CmdArgs) error {
	config, err := parseConfig(args.StdinData)
	if err != nil {
		return err
	}
	if _, err := readSubnet(config.SubnetFile); err != nil {
		return types.NewError(notReady, "flannel is not ready", err.Error())
	}
	return nil
}

// withPrevious copies "prevResult" from the runtime's configuration to the delegate's.
func withPrevious(delegate, runtime []byte) ([]byte, error) {
	var to, from map[string]any
	if err := json.Unmarshal(delegate, &to); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(runtime, &from); err != nil {
		return nil, err
	}
	to["prevResult"] = from["prevResult"]
	return json.Marshal(to)
}

// pluginOf is the type in a delegate's configuration.
func pluginOf(delegated map[string]any) string {
	plugin, _ := delegated["type"].(string)
	return plugin
}

// load reads what add stored, and the name of the plugin that it is for.
func load(config *netConfig, args *skel.CmdArgs) ([]byte, string, error) {
	encoded, err := os.ReadFile(config.stateFile(args))
	if err != nil {
		return nil, "", err
	}
	var delegated map[string]any
	if err := json.Unmarshal(encoded, &delegated); err != nil {
		return nil, "", fmt.Errorf("%s: %w", config.stateFile(args), err)
	}
	return encoded, pluginOf(delegated), nil
}
