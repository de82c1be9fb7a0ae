package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ipfs/go-cid"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// jobLimit is how long one job of the DHT may take.
const jobLimit = 20 * time.Second

// dhtEvent is the outcome of one job of the DHT, which it repeats.
type dhtEvent struct {
	Event string   `json:"event"`
	Job   string   `json:"job"`
	Found []string `json:"found"`
	Error string   `json:"error,omitempty"`
}

// anyValue accepts every value that is not empty, and prefers the greatest bytes.
type anyValue struct{}

func (anyValue) Validate(_ string, value []byte) error {
	if len(value) == 0 {
		return errors.New("the value is empty")
	}
	return nil
}

func (anyValue) Select(_ string, values [][]byte) (int, error) {
	best := 0
	for i, value := range values {
		if bytes.Compare(value, values[best]) > 0 {
			best = i
		}
	}
	return best, nil
}

// newDHT makes a server of the DHT with the protocol /NAME/kad/1.0.0 and the namespace NAME, besides /pk/.
func newDHT(h host.Host, name string) (*dht.IpfsDHT, error) {
	return dht.New(h,
		dht.Mode(dht.ModeServer),
		dht.ProtocolPrefix(protocol.ID("/"+name)),
		dht.NamespacedValidator(name, anyValue{}),
	)
}

// work carries out one job: "find PEER", "put KEY VALUE", "get KEY", "provide CID", "providers CID" or "table". Keys and values are
// hexadecimal digits.
func work(kad *dht.IpfsDHT, job string, out *emitter) {
	ctx, cancel := context.WithTimeout(context.Background(), jobLimit)
	defer cancel()
	found, err := carryOut(ctx, kad, strings.Fields(job))
	event := dhtEvent{Event: "dht", Job: job, Found: append([]string{}, found...)}
	if err != nil {
		event.Error = err.Error()
	}
	out.emit(event)
}

func carryOut(ctx context.Context, kad *dht.IpfsDHT, words []string) ([]string, error) {
	switch {
	case len(words) == 1 && words[0] == "table":
		var peers []string
		for _, id := range kad.RoutingTable().ListPeers() {
			peers = append(peers, id.String())
		}
		return peers, nil
	case len(words) == 2 && words[0] == "find":
		id, err := peer.Decode(words[1])
		if err != nil {
			return nil, err
		}
		info, err := kad.FindPeer(ctx, id)
		return addrStrings(info.Addrs), err
	case len(words) == 2 && words[0] == "get":
		key, err := hex.DecodeString(words[1])
		if err != nil {
			return nil, err
		}
		value, err := kad.GetValue(ctx, string(key))
		return []string{hex.EncodeToString(value)}, err
	case len(words) == 3 && words[0] == "put":
		key, err := hex.DecodeString(words[1])
		if err != nil {
			return nil, err
		}
		value, err := hex.DecodeString(words[2])
		if err != nil {
			return nil, err
		}
		return nil, kad.PutValue(ctx, string(key), value)
	case len(words) == 2 && words[0] == "provide":
		content, err := cid.Decode(words[1])
		if err != nil {
			return nil, err
		}
		return nil, kad.Provide(ctx, content, true)
	case len(words) == 2 && words[0] == "providers":
		content, err := cid.Decode(words[1])
		if err != nil {
			return nil, err
		}
		infos, err := kad.FindProviders(ctx, content)
		var peers []string
		for _, info := range infos {
			peers = append(peers, info.ID.String())
		}
		return peers, err
	default:
		return nil, fmt.Errorf("there is no such job: %q", words)
	}
}
