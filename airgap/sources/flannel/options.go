package main

import (
	"errors"
	"flag"
	"fmt"
	"strings"

	"k8s.io/klog/v2"
)

// options is the command line. Names, meanings and defaults are those of
// upstream's flanneld, but for --kube-subnet-mgr, which is on.
type options struct {
	interfaces     list
	interfaceRegex list
	canReach       string
	publicIP       string
	publicIPv6     string
	subnetFile     string
	networkFile    string
	masquerade     bool
	notFullyRandom bool
	forwardRules   bool
	kubeSubnets    bool
	apiURL         string
	kubeconfig     string
	annotations    string
	setNodeReady   bool
	healthzIP      string
	healthzPort    int
	version        bool
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}

// parseOptions reads the command line args of the program called name.
func parseOptions(name string, args []string) (*options, error) {
	opts := &options{}
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	opts.networkFlags(flags)
	opts.clusterFlags(flags)
	logFlags(flags)
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	return opts, opts.check(flags.Args())
}

func (o *options) networkFlags(flags *flag.FlagSet) {
	flags.Var(&o.interfaces, "iface", "interface to the other nodes, by name or address; may be repeated, the first that exists is used")
	flags.Var(&o.interfaceRegex, "iface-regex", "pattern for the name or address of the interface; may be repeated, tried after --iface")
	flags.StringVar(&o.canReach, "iface-can-reach", "", "use the interface that the route to this address goes through; tried last")
	flags.StringVar(&o.publicIP, "public-ip", "", "address that other nodes reach this one under")
	flags.StringVar(&o.publicIPv6, "public-ipv6", "", "IPv6 address that other nodes reach this one under")
	flags.StringVar(&o.subnetFile, "subnet-file", "/run/flannel/subnet.env", "file to write for the CNI plugin")
	flags.StringVar(&o.networkFile, "net-config-path", "/etc/kube-flannel/net-conf.json", "network configuration")
	flags.BoolVar(&o.masquerade, "ip-masq", false, "masquerade traffic that leaves the pod network")
	flags.BoolVar(&o.notFullyRandom, "ip-masq-fully-random-disable", false, "masquerade without fully random ports")
	flags.BoolVar(&o.forwardRules, "iptables-forward-rules", true, "accept forwarded traffic of the pod network (with nftables, whatever the name says)")
}

func (o *options) clusterFlags(flags *flag.FlagSet) {
	flags.BoolVar(&o.kubeSubnets, "kube-subnet-mgr", true, "take subnets from the Kubernetes API (nothing else is built in)")
	flags.StringVar(&o.apiURL, "kube-api-url", "", "API server, where not in a pod")
	flags.StringVar(&o.kubeconfig, "kubeconfig-file", "", "kubeconfig, where not in a pod")
	flags.StringVar(&o.annotations, "kube-annotation-prefix", "flannel.alpha.coreos.com", "prefix of the node annotations")
	flags.BoolVar(&o.setNodeReady, "set-node-network-unavailable", true, "clear the node's NetworkUnavailable condition when ready")
	flags.StringVar(&o.healthzIP, "healthz-ip", "0.0.0.0", "address for /healthz and /readyz")
	flags.IntVar(&o.healthzPort, "healthz-port", 0, "port for /healthz and /readyz, 0 for none")
	flags.BoolVar(&o.version, "version", false, "print the version and end")
}

// logFlags adds klog's verbosity flags; the log itself always goes to stderr.
func logFlags(flags *flag.FlagSet) {
	all := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(all)
	for _, name := range []string{"v", "vmodule"} {
		known := all.Lookup(name)
		flags.Var(known.Value, known.Name, known.Usage)
	}
}

// check finds what the flags' own types cannot, all faults at once.
func (o *options) check(rest []string) error {
	var faults []error
	if len(rest) > 0 {
		faults = append(faults, fmt.Errorf("unexpected argument %q", rest[0]))
	}
	if !o.kubeSubnets {
		faults = append(faults, errors.New("--kube-subnet-mgr=false: only the kubernetes subnet manager is built in"))
	}
	if o.healthzPort < 0 || o.healthzPort > 65535 {
		faults = append(faults, fmt.Errorf("--healthz-port %d: not a port number", o.healthzPort))
	}
	return errors.Join(faults...)
}
