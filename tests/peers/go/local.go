package main

import (
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
)

// discoverer emits the peers that mDNS finds.
type discoverer struct{ out *emitter }

// HandlePeerFound implements mdns.Notifee.
func (d discoverer) HandlePeerFound(found peer.AddrInfo) {
	d.out.emit(discoveredEvent{Event: "discovered", PeerID: found.ID.String(), Addresses: addrStrings(found.Addrs)})
}

// discover announces the host by mDNS and emits the peers that it finds, until the service is closed.
func discover(h host.Host, out *emitter) (mdns.Service, error) {
	service := mdns.NewMdnsService(h, "", discoverer{out})
	return service, service.Start()
}
