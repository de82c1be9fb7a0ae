package main

import (
	"context"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
)

// probeLimit is the time that a connected peer has to answer a ping on a new stream.
const probeLimit = time.Second

// probe pings every connected peer on a new stream, waits for the answers, pauses, and begins again, until the context ends.
// It emits the answers. The host chooses the connection.
func probe(ctx context.Context, h host.Host, pause time.Duration, out *emitter) {
	for ctx.Err() == nil {
		peers := h.Network().Peers()
		done := make(chan struct{}, len(peers))
		for _, id := range peers {
			go func() {
				probeOne(ctx, h, id, out)
				done <- struct{}{}
			}()
		}
		for range peers {
			<-done
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

func probeOne(ctx context.Context, h host.Host, id peer.ID, out *emitter) {
	ctx, cancel := context.WithTimeout(network.WithNoDial(ctx, "only connected peers are pinged"), probeLimit)
	defer cancel()
	begun := time.Now()
	if result := <-ping.Ping(ctx, h, id); result.Error == nil && result.RTT > 0 {
		out.emit(probedEvent{Event: "probed", PeerID: id.String(), Took: time.Since(begun).Microseconds()})
	}
}
