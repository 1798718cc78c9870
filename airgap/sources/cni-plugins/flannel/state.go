package main

import (
	"errors"
	"io/fs"
	"os"

	"github.com/containernetworking/cni/pkg/skel"
)

// save keeps the delegate's configuration for del. It may hold what an
// administrator put into "delegate", so only root may read it.
func save(config *netConfig, args *skel.CmdArgs, encoded []byte) error {
	if err := os.MkdirAll(config.DataDir, 0o700); err != nil {
		return err
	}
	path := config.stateFile(args)
	temporary := path + ".new"
	if err := os.WriteFile(temporary, encoded, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

// forget takes away what save kept.
func forget(config *netConfig, args *skel.CmdArgs) error {
	err := os.Remove(config.stateFile(args))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
