package main

import (
	"context"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	ma "github.com/multiformats/go-multiaddr"
)

// askAgain is how long to wait before a relay that refused is asked again.
const askAgain = 500 * time.Millisecond

// circuitConfig is what listen says about relays.
type circuitConfig struct {
	relay   bool
	data    int64          // bytes that a circuit carries in each direction, 0 for the default
	reserve *peer.AddrInfo // nil for none
}

func (c circuitConfig) used() bool {
	return c.relay || c.reserve != nil
}

// serveCircuits makes the host a relay, if it is to be one.
func serveCircuits(h host.Host, cfg circuitConfig) error {
	if !cfg.relay {
		return nil
	}
	resources := relay.DefaultResources()
	if cfg.data > 0 {
		resources.Limit.Data = cfg.data
	}
	_, err := relay.New(h, relay.WithResources(resources))
	return err
}

// keepReserved holds a slot at a relay until the context ends. It uses the client that AutoRelay uses, and not AutoRelay:
// that announces public addresses of relays only, tells nobody of a refusal, and looks at a reservation once a minute.
func keepReserved(ctx context.Context, h host.Host, at peer.AddrInfo, out *emitter) {
	renewal := false
	for ctx.Err() == nil {
		wait := askAgain
		reservation, err := reserve(ctx, h, at)
		if err == nil {
			out.emit(reservedEvent{
				Event:     "reserved",
				Relay:     at.ID.String(),
				Renewal:   renewal,
				Voucher:   reservation.Voucher != nil,
				Addresses: circuits(reservation.Addrs, h.ID()),
			})
			wait = time.Until(reservation.Expiration) * 3 / 4
		} else if ctx.Err() == nil {
			out.emit(refusedEvent{Event: "refused", Message: err.Error()})
		}
		renewal = err == nil
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

func reserve(ctx context.Context, h host.Host, at peer.AddrInfo) (*client.Reservation, error) {
	if err := h.Connect(ctx, at); err != nil {
		return nil, fmt.Errorf("cannot connect to the relay: %w", err)
	}
	return client.Reserve(ctx, h, at)
}

// circuits tells where a peer is reached through a relay that is at these addresses.
func circuits(relay []ma.Multiaddr, self peer.ID) []string {
	full := make([]string, len(relay))
	for i, addr := range relay {
		full[i] = addr.String() + "/p2p-circuit/p2p/" + self.String()
	}
	return full
}
