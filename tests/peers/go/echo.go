package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	echoProtocol = "/bowline-echo/1"
	// echoPeriod is after how many bytes they repeat. It is prime, so that a lost or doubled block does not go unseen.
	echoPeriod = 251
	echoBlock  = 16 * 1024
)

// serveEcho echoes every stream, over limited connections too, and says how it ended.
func serveEcho(h host.Host, out *emitter) {
	h.SetStreamHandler(echoProtocol, func(s network.Stream) {
		count, err := io.CopyBuffer(struct{ io.Writer }{s}, struct{ io.Reader }{s}, make([]byte, echoBlock))
		end := "eof"
		if err == nil {
			err = s.Close()
		}
		if err != nil {
			end = err.Error()
			s.Reset()
		}
		out.emit(servedEvent{Event: "served", PeerID: s.Conn().RemotePeer().String(), Bytes: count, End: end})
	})
}

// echo connects to target and has it echo count bytes. Where the stream ends before they are all back, it says so and
// waits for the connection's end.
func echo(cfg hostConfig, target peer.AddrInfo, count uint64, out *emitter) error {
	ctx, cancel := context.WithTimeout(context.Background(), dialLimit)
	defer cancel()
	ctx = network.WithAllowLimitedConn(ctx, "the echo is small")

	cfg.circuits = true
	h, err := cfg.newHost()
	if err != nil {
		return fmt.Errorf("cannot make a host: %w", err)
	}
	defer h.Close()
	if _, err := watch(h, out); err != nil {
		return fmt.Errorf("cannot watch the host: %w", err)
	}
	if err := h.Connect(ctx, target); err != nil {
		return fmt.Errorf("cannot connect: %w", err)
	}
	stream, err := h.NewStream(network.WithNoDial(ctx, "the first connection is the one to test"), target.ID, echoProtocol)
	if err != nil {
		return fmt.Errorf("cannot open a stream: %w", err)
	}
	outcome, err := exchange(stream, count)
	if err != nil {
		return err
	}
	if outcome == nil {
		out.emit(echoedEvent{Event: "echoed", Bytes: count})
		stream.Close()
	} else {
		out.emit(*outcome)
		if err := gone(ctx, h, target.ID); err != nil {
			return err
		}
	}
	out.emit(doneEvent{Event: "done"})
	return nil
}

// exchange returns nil if all bytes came back as they were sent, and what came of them if the stream ended before.
func exchange(stream network.Stream, count uint64) (*cutEvent, error) {
	stream.SetDeadline(time.Now().Add(dialLimit))
	sent := make([]byte, count)
	for i := range sent {
		sent[i] = byte(i % echoPeriod)
	}
	type write struct {
		count int
		err   error
	}
	written := make(chan write, 1)
	go func() {
		total, err := 0, error(nil)
		for total < len(sent) && err == nil {
			n := 0
			n, err = stream.Write(sent[total:min(total+echoBlock, len(sent))])
			total += n
		}
		if err == nil {
			err = stream.CloseWrite()
		}
		written <- write{total, err}
	}()
	received, readErr := io.ReadAll(stream)
	if !bytes.HasPrefix(sent, received) {
		return nil, errors.New("what came back is not what was sent")
	}
	if readErr != nil {
		// Nothing will take the rest.
		stream.Reset()
	}
	w := <-written
	if readErr == nil && w.err == nil && len(received) == len(sent) {
		return nil, nil
	}
	reason := "the stream ended"
	if readErr != nil {
		reason = "reading: " + readErr.Error()
	} else if w.err != nil {
		reason = "writing: " + w.err.Error()
	}
	return &cutEvent{Event: "cut", Sent: w.count, Received: len(received), Reason: reason}, nil
}

// gone returns once no connection to the peer is left.
func gone(ctx context.Context, h host.Host, id peer.ID) error {
	for len(h.Network().ConnsToPeer(id)) > 0 {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the connection did not end: %w", ctx.Err())
		}
	}
	return nil
}
