package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
)

// dialLimit is how long dial may take altogether.
const dialLimit = 20 * time.Second

// dial connects to target, reads its identify and pings it.
func dial(cfg hostConfig, target peer.AddrInfo, pings uint, out *emitter) error {
	ctx, cancel := context.WithTimeout(context.Background(), dialLimit)
	defer cancel()

	h, err := cfg.newHost()
	if err != nil {
		return fmt.Errorf("cannot make a host: %w", err)
	}
	defer h.Close()
	w, err := watch(h, out)
	if err != nil {
		return fmt.Errorf("cannot watch the host: %w", err)
	}

	if err := h.Connect(ctx, target); err != nil {
		return fmt.Errorf("cannot connect: %w", err)
	}
	select {
	case err := <-w.identified:
		if err != nil {
			return fmt.Errorf("cannot identify the peer: %w", err)
		}
	case <-ctx.Done():
		return fmt.Errorf("cannot identify the peer: %w", ctx.Err())
	}
	if err := pingTimes(ctx, h, target.ID, pings, out); err != nil {
		return fmt.Errorf("cannot ping: %w", err)
	}
	out.emit(doneEvent{Event: "done"})
	return nil
}

// pingTimes pings the peer on one stream of the connection that is up.
func pingTimes(ctx context.Context, h host.Host, id peer.ID, times uint, out *emitter) error {
	if times == 0 {
		return nil
	}
	// A connection that broke is a failure to report; opening a stream would dial anew.
	ctx, cancel := context.WithCancel(network.WithNoDial(ctx, "the first connection is the one to test"))
	defer cancel()
	// go-libp2p pings on until its context ends, so the peer may see one more ping than asked for, then a reset.
	for result := range ping.Ping(ctx, h, id) {
		if result.Error != nil {
			return result.Error
		}
		out.emit(pongEvent{Event: "pong", RTT: result.RTT.Microseconds()})
		if times--; times == 0 {
			return nil
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return errors.New("the pings ended early")
}
