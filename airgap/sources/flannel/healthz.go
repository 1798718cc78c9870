package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"k8s.io/klog/v2"
)

// headerTimeout bounds how long a probe may take to send its request.
const headerTimeout = 5 * time.Second

// startHealthz listens for probes until ctx ends, unless the port is 0. What it
// returns says whether /readyz answers 200; /healthz answers 200 at once.
func startHealthz(ctx context.Context, opts *options) (*atomic.Bool, error) {
	ready := &atomic.Bool{}
	if opts.healthzPort == 0 {
		return ready, nil
	}
	address := net.JoinHostPort(opts.healthzIP, strconv.Itoa(opts.healthzPort))
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen for probes on %s: %w", address, err)
	}
	server := &http.Server{Handler: probes(ready), ReadHeaderTimeout: headerTimeout}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			klog.Errorf("probes on %s: %s", address, err)
		}
	}()
	return ready, nil
}

// probes answers /healthz and /readyz.
func probes(ready *atomic.Bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "flanneld is running")
	})
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !ready.Load() {
			http.Error(w, "flanneld is not ready: rules and subnet file are still to come", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "flanneld is ready")
	})
	return mux
}
