package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// localConfig is what listen says about the peers that it finds and keeps.
type localConfig struct {
	mdns       bool
	probeEvery time.Duration // 0 for no pings of its own
	kad        string        // the name of its DHT; empty for none
}

// listen serves on addr until it is told to end.
func listen(cfg hostConfig, circuits circuitConfig, local localConfig, addr ma.Multiaddr, out *emitter) error {
	// Before "ready", so that a driver that reacts to that line at once ends the program cleanly too.
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, os.Interrupt)

	cfg.circuits = circuits.used()
	h, err := cfg.newHost()
	if err != nil {
		return fmt.Errorf("cannot make a host: %w", err)
	}
	defer h.Close()
	if _, err := watch(h, out); err != nil {
		return fmt.Errorf("cannot watch the host: %w", err)
	}
	if err := serveCircuits(h, circuits); err != nil {
		return fmt.Errorf("cannot be a relay: %w", err)
	}
	if circuits.used() {
		serveEcho(h, out)
	}

	var kad *dht.IpfsDHT
	if local.kad != "" {
		if kad, err = newDHT(h, local.kad); err != nil {
			return fmt.Errorf("cannot make a DHT: %w", err)
		}
		defer kad.Close()
	}

	// A fixed address can be dialed before its "ready", which has to be the first line all the same.
	err = out.emitFirst(func() (any, error) {
		if err := h.Network().Listen(addr); err != nil {
			return nil, fmt.Errorf("cannot listen on %s: %w", addr, err)
		}
		addrs, err := h.Network().InterfaceListenAddresses()
		if err != nil {
			return nil, fmt.Errorf("cannot tell the listen addresses: %w", err)
		}
		addrs = slices.DeleteFunc(addrs, isCircuit)
		full, err := peer.AddrInfoToP2pAddrs(&peer.AddrInfo{ID: h.ID(), Addrs: addrs})
		if err != nil {
			return nil, err
		}
		return readyEvent{Event: "ready", PeerID: h.ID().String(), Addresses: addrStrings(full)}, nil
	})
	if err != nil {
		return err
	}

	if circuits.reserve != nil {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go keepReserved(ctx, h, *circuits.reserve, out)
	}

	if local.mdns {
		service, err := discover(h, out)
		if err != nil {
			return fmt.Errorf("cannot use mDNS: %w", err)
		}
		defer service.Close()
	}
	if local.probeEvery > 0 {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go probe(ctx, h, local.probeEvery, out)
	}

	closed := make(chan struct{})
	go func() {
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			if address, ok := strings.CutPrefix(lines.Text(), "dial "); ok {
				go order(h, address)
			} else if job, ok := strings.CutPrefix(lines.Text(), "dht "); ok && kad != nil {
				go work(kad, job, out)
			}
		}
		close(closed)
	}()
	select {
	case <-end:
	case <-closed:
	}
	return nil
}

// order dials as standard input says. A dial that fails is told of and ends nothing.
func order(h host.Host, address string) {
	ctx, cancel := context.WithTimeout(context.Background(), dialLimit)
	defer cancel()
	info, err := peer.AddrInfoFromString(address)
	if err == nil {
		err = h.Connect(ctx, *info)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "a dial failed: %v\n", err)
	}
}

// isCircuit tells the address at which a host that can be behind a relay listens for what comes by one.
func isCircuit(addr ma.Multiaddr) bool {
	_, err := addr.ValueForProtocol(ma.P_CIRCUIT)
	return err == nil
}
