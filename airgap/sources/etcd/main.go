// Command etcd is the etcd server and its two tools, etcdctl and etcdutl, in
// one binary.
//
// It is the tool whose name it was started under; under any other name
// it is the server, so that a copy called `etcd-3.7` works like `etcd`. All
// three are upstream's, unchanged.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/etcdctl/v3/ctlv3"
	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	switch filepath.Base(os.Args[0]) {
	case "etcdctl":
		ctlv3.MustStart()
	case "etcdutl":
		if err := etcdutlCommand().Execute(); err != nil {
			fmt.Fprintln(os.Stderr, "Error:", err)
			os.Exit(1)
		}
	default:
		etcdmain.Main(os.Args)
	}
}
