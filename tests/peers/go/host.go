package main

import (
	"bytes"
	"crypto/ed25519"
	"runtime/debug"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
)

// hostConfig is what both subcommands say about their host.
type hostConfig struct {
	transport string // "tcp" or "quic"
	security  string // "tls" or "noise"; means nothing to QUIC
	keySeed   *byte  // nil for a random identity
	circuits  bool   // whether it can be behind a relay and dial through one
}

func (c hostConfig) defaultListenAddr() ma.Multiaddr {
	if c.transport == "quic" {
		return ma.StringCast("/ip4/127.0.0.1/udp/0/quic-v1")
	}
	return ma.StringCast("/ip4/127.0.0.1/tcp/0")
}

// newHost makes a host that does not listen yet, has the chosen transport and security only, and runs nothing
// besides identify and ping, and what relays need.
func (c hostConfig) newHost() (host.Host, error) {
	options := []libp2p.Option{
		libp2p.NoListenAddrs,
		// A fixed answer is what keeps the AutoNAT client, which has no off switch, from asking peers for one.
		libp2p.ForceReachabilityPrivate(),
		libp2p.DisableIdentifyAddressDiscovery(),
		libp2p.DisableMetrics(),
		libp2p.UserAgent(agent()),
		// The defaults cap connections per IP address and trim them beyond a few hundred, and here all the
		// thousands of them come from loopback.
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.ConnectionManager(connmgr.NullConnMgr{}),
	}

	if c.circuits {
		options = append(options, libp2p.EnableRelay())
	} else {
		options = append(options, libp2p.DisableRelay())
	}
	if c.transport == "quic" {
		options = append(options, libp2p.Transport(libp2pquic.NewTransport))
	} else {
		// Two listeners that share a port by SO_REUSEPORT would split its connections between them instead of
		// failing.
		options = append(options, libp2p.Transport(tcp.NewTCPTransport, tcp.DisableReuseport()))
	}
	// QUIC brings its own, but a circuit does not.
	if c.transport == "tcp" || c.circuits {
		options = append(options, libp2p.Muxer(yamux.ID, yamux.DefaultTransport))
		if c.security == "noise" {
			options = append(options, libp2p.Security(noise.ID, noise.New))
		} else {
			options = append(options, libp2p.Security(libp2ptls.ID, libp2ptls.New))
		}
	}

	if c.keySeed != nil {
		key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{*c.keySeed}, ed25519.SeedSize))
		identity, _, err := crypto.KeyPairFromStdKey(&key)
		if err != nil {
			return nil, err
		}
		options = append(options, libp2p.Identity(identity))
	}

	return libp2p.New(options...)
}

// agent tells the go-libp2p release that is built in. The default would tell this program's own version, which
// it has none of.
func agent() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == "github.com/libp2p/go-libp2p" {
				return "go-libp2p/" + dep.Version
			}
		}
	}
	return "go-libp2p"
}
