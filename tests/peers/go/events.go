package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"

	ma "github.com/multiformats/go-multiaddr"
)

type readyEvent struct {
	Event     string   `json:"event"`
	PeerID    string   `json:"peer_id"`
	Addresses []string `json:"addresses"`
}

type connectedEvent struct {
	Event    string `json:"event"`
	PeerID   string `json:"peer_id"`
	Address  string `json:"address"`
	Security string `json:"security,omitempty"`
	Muxer    string `json:"muxer,omitempty"`
}

type identifiedEvent struct {
	Event     string   `json:"event"`
	PeerID    string   `json:"peer_id"`
	Agent     string   `json:"agent"`
	Protocols []string `json:"protocols"`
	Listen    []string `json:"listen"`
}

type pongEvent struct {
	Event string `json:"event"`
	RTT   int64  `json:"rtt_us"`
}

type disconnectedEvent struct {
	Event  string `json:"event"`
	PeerID string `json:"peer_id"`
}

type reservedEvent struct {
	Event     string   `json:"event"`
	Relay     string   `json:"relay"`
	Renewal   bool     `json:"renewal"`
	Voucher   bool     `json:"voucher"`
	Addresses []string `json:"addresses"`
}

type refusedEvent struct {
	Event   string `json:"event"`
	Message string `json:"message"`
}

type servedEvent struct {
	Event  string `json:"event"`
	PeerID string `json:"peer_id"`
	Bytes  int64  `json:"bytes"`
	End    string `json:"end"`
}

type echoedEvent struct {
	Event string `json:"event"`
	Bytes uint64 `json:"bytes"`
}

type cutEvent struct {
	Event    string `json:"event"`
	Sent     int    `json:"sent"`
	Received int    `json:"received"`
	Reason   string `json:"reason"`
}

// probedEvent is the answer to a ping on a new stream. The time includes opening the stream.
type probedEvent struct {
	Event  string `json:"event"`
	PeerID string `json:"peer_id"`
	Took   int64  `json:"took_us"`
}

type discoveredEvent struct {
	Event     string   `json:"event"`
	PeerID    string   `json:"peer_id"`
	Addresses []string `json:"addresses"`
}

type doneEvent struct {
	Event string `json:"event"`
}

type errorEvent struct {
	Event   string `json:"event"`
	Message string `json:"message"`
}

// emitter prints events as JSON lines. The encoder hands each line over in one unbuffered write, so a reader
// on a pipe sees it at once.
type emitter struct {
	mu      sync.Mutex
	encoder *json.Encoder
}

func newEmitter(w io.Writer) *emitter {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return &emitter{encoder: encoder}
}

func (e *emitter) emit(event any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.write(event)
}

// emitFirst emits what prepare returns, unless it fails, and holds back every other event until then.
func (e *emitter) emitFirst(prepare func() (any, error)) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	event, err := prepare()
	if err != nil {
		return err
	}
	e.write(event)
	return nil
}

func (e *emitter) write(event any) {
	if err := e.encoder.Encode(event); err != nil {
		// Nobody can be told on standard output any more.
		fmt.Fprintf(os.Stderr, "go-peer: cannot write an event: %v\n", err)
		os.Exit(1)
	}
}

// addrStrings never returns nil, which JSON would show as null instead of an empty list.
func addrStrings(addrs []ma.Multiaddr) []string {
	strings := make([]string, len(addrs))
	for i, addr := range addrs {
		strings[i] = addr.String()
	}
	return strings
}
