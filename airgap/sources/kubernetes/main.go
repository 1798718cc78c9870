// Command kube is every Kubernetes program in one binary.
//
// It looks at the name it was started under (`kubelet`, `kubeadm`, ...), and
// where that is none of its programs (`kube kubelet --version`), at its first
// argument, which it then takes away, so that a program sees the arguments that
// it would see on its own.
//
// The programs share most of their code, so one binary is about a fifth of
// the size of the seven. They are upstream's, unchanged. What linking them
// together would change is put right here: the kubelet's packages add flags of
// cAdvisor's to the process-wide flag set, from which kubeadm and kube-proxy
// would take them over.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	_ "time/tzdata" // time zones of CronJobs, on hosts without zone files

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // kubectl's credential plugins
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // version metric
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubeadm "k8s.io/kubernetes/cmd/kubeadm/app"
	kubeadmerrors "k8s.io/kubernetes/cmd/kubeadm/app/util/errors"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// usageError is the exit status for a name that is none of the programs.
const usageError = 2

// programs maps the name of each program to its entry, which returns the
// exit status. An entry builds its command only when it is called: building
// one registers flags and feature gates that the others must not see.
var programs = map[string]func() int{
	"kubeadm":                 runKubeadm,
	"kubectl":                 runKubectl,
	"kubelet":                 func() int { return cli.Run(kubelet.NewKubeletCommand(context.Background())) },
	"kube-apiserver":          component(apiserver.NewAPIServerCommand),
	"kube-controller-manager": component(controllermanager.NewControllerManagerCommand),
	"kube-scheduler":          func() int { return cli.Run(scheduler.NewSchedulerCommand()) },
	"kube-proxy":              runProxy,
}

func main() {
	program, args, found := choose(os.Args)
	if !found {
		fmt.Fprintf(os.Stderr, "usage: %s PROGRAM [ARGUMENT...]\nprograms: %s\n",
			filepath.Base(os.Args[0]), strings.Join(names(), ", "))
		os.Exit(usageError)
	}
	os.Args = args
	os.Exit(program())
}

// choose finds the program that args names, by args[0] or else by args[1],
// and returns it with the arguments that it is to see.
func choose(args []string) (func() int, []string, bool) {
	if len(args) == 0 {
		return nil, nil, false
	}
	if program, found := programs[filepath.Base(args[0])]; found {
		return program, args, true
	}
	if len(args) < 2 {
		return nil, nil, false
	}
	program, found := programs[args[1]]
	return program, args[1:], found
}

// names lists the programs, sorted.
func names() []string {
	list := make([]string, 0, len(programs))
	for name := range programs {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// component makes an entry of a server's command constructor.
func component(build func() *cobra.Command) func() int {
	return func() int { return cli.Run(build()) }
}

// keepGlobalFlags takes every flag but those named out of the process-wide set.
func keepGlobalFlags(names ...string) {
	kept := flag.NewFlagSet(os.Args[0], flag.ExitOnError)
	for _, name := range names {
		if known := flag.CommandLine.Lookup(name); known != nil {
			kept.Var(known.Value, known.Name, known.Usage)
		}
	}
	flag.CommandLine = kept
}

func runProxy() int {
	keepGlobalFlags("boot_id_file", "machine_id_file") // the two that upstream's own binary has
	return cli.Run(proxy.NewProxyCommand())
}

func runKubeadm() int {
	keepGlobalFlags()
	pflag.CommandLine = pflag.NewFlagSet(os.Args[0], pflag.ExitOnError) // holds the servers' --version
	// HandleError does not return for an error: it prints it and exits with its status.
	kubeadmerrors.HandleError(kubeadm.Run())
	return 0
}

func runKubectl() int {
	// The command's construction already logs (plugins, kuberc), so the
	// verbosity has to be known before flags are parsed.
	_, _ = logs.GlogSetter(kubectl.GetLogVerbosity(os.Args))
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err) // prints, and exits with the error's status
	}
	return 0
}
