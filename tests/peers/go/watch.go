package main

import (
	"sync"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// watcher emits connected, identified and disconnected events as they happen on a host.
type watcher struct {
	out *emitter
	// identified gets the outcome of each identify round while there is room for it.
	identified chan error

	mu    sync.Mutex
	conns map[peer.ID]map[network.Conn]bool
}

// watch starts a watcher that lives as long as its host.
func watch(h host.Host, out *emitter) (*watcher, error) {
	sub, err := h.EventBus().Subscribe([]any{
		new(event.EvtPeerIdentificationCompleted),
		new(event.EvtPeerIdentificationFailed),
	})
	if err != nil {
		return nil, err
	}

	w := &watcher{
		out:        out,
		identified: make(chan error, 1),
		conns:      make(map[peer.ID]map[network.Conn]bool),
	}
	h.Network().Notify(&network.NotifyBundle{
		ConnectedF:    func(_ network.Network, c network.Conn) { w.connected(c) },
		DisconnectedF: func(_ network.Network, c network.Conn) { w.disconnected(c) },
	})
	go func() {
		for e := range sub.Out() {
			switch e := e.(type) {
			case event.EvtPeerIdentificationCompleted:
				w.completed(e)
			case event.EvtPeerIdentificationFailed:
				w.report(e.Reason)
			}
		}
	}()
	return w, nil
}

func (w *watcher) connected(c network.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.add(c)
}

// add emits the connected event of a connection the first time it is seen.
func (w *watcher) add(c network.Conn) {
	id := c.RemotePeer()
	if w.conns[id][c] {
		return
	}
	if w.conns[id] == nil {
		w.conns[id] = make(map[network.Conn]bool)
	}
	w.conns[id][c] = true
	state := c.ConnState()
	w.out.emit(connectedEvent{
		Event:    "connected",
		PeerID:   id.String(),
		Address:  c.RemoteMultiaddr().String(),
		Security: string(state.Security),
		Muxer:    string(state.StreamMultiplexer),
	})
}

func (w *watcher) disconnected(c network.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	id := c.RemotePeer()
	delete(w.conns[id], c)
	if len(w.conns[id]) == 0 {
		delete(w.conns, id)
		w.out.emit(disconnectedEvent{Event: "disconnected", PeerID: id.String()})
	}
}

func (w *watcher) completed(e event.EvtPeerIdentificationCompleted) {
	w.mu.Lock()
	// The event bus and the connection notifications are not ordered with each other, so this may be the first
	// that is heard of the connection, or the last.
	if !e.Conn.IsClosed() {
		w.add(e.Conn)
	}
	w.out.emit(identifiedEvent{
		Event:     "identified",
		PeerID:    e.Peer.String(),
		Agent:     e.AgentVersion,
		Protocols: append([]string{}, protocol.ConvertToStrings(e.Protocols)...),
		Listen:    addrStrings(e.ListenAddrs),
	})
	w.mu.Unlock()
	w.report(nil)
}

func (w *watcher) report(err error) {
	select {
	case w.identified <- err:
	default:
	}
}
