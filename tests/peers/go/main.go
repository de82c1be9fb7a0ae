// Command go-peer is go-libp2p behind the command-line face that the foreign peers share, which
// ../README.md describes:
//
//	go-peer listen --transport tcp|quic [--security tls|noise] [--addr MULTIADDR] [--key-seed N]
//	         [--relay [--relay-data BYTES]] [--reserve MULTIADDR] [--probe-every MS] [--mdns] [--kad NAME]
//	go-peer echo MULTIADDR --transport tcp|quic [--security tls|noise] [--bytes N] [--key-seed N]
//	go-peer dial MULTIADDR --transport tcp|quic [--security tls|noise] [--pings N] [--key-seed N]
//
// Standard output carries JSON lines only; usage messages and go-libp2p's own log go to standard error.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

const usage = `usage:
  go-peer listen --transport tcp|quic [--security tls|noise] [--addr MULTIADDR] [--key-seed N]
           [--relay [--relay-data BYTES]] [--reserve MULTIADDR] [--probe-every MS] [--mdns] [--kad NAME]
  go-peer echo MULTIADDR --transport tcp|quic [--security tls|noise] [--bytes N] [--key-seed N]
  go-peer dial MULTIADDR --transport tcp|quic [--security tls|noise] [--pings N] [--key-seed N]
`

func main() {
	run, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(os.Stderr, usage)
		return
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "go-peer: %v\n%s", err, usage)
		os.Exit(2)
	}

	out := newEmitter(os.Stdout)
	if err := run(out); err != nil {
		out.emit(errorEvent{Event: "error", Message: err.Error()})
		os.Exit(1)
	}
}

// parse turns the command line into the job to run. An error means wrong usage.
func parse(args []string) (func(*emitter) error, error) {
	if len(args) == 0 {
		return nil, errors.New("missing subcommand")
	}
	subcommand, args := args[0], args[1:]

	flags := flag.NewFlagSet(subcommand, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // main prints the error, with a usage text that fits both subcommands
	cfg := hostConfig{security: "tls"}
	flags.Func("transport", "", oneOf(&cfg.transport, "tcp", "quic"))
	flags.Func("security", "", oneOf(&cfg.security, "tls", "noise"))
	flags.Func("key-seed", "", func(value string) error {
		n, err := strconv.ParseUint(value, 10, 8)
		if err != nil {
			return errors.New("not a number from 0 to 255")
		}
		seed := byte(n)
		cfg.keySeed = &seed
		return nil
	})

	switch subcommand {
	case "listen":
		var addr ma.Multiaddr
		var circuits circuitConfig
		var local localConfig
		flags.BoolVar(&local.mdns, "mdns", false, "")
		flags.StringVar(&local.kad, "kad", "", "")
		flags.Func("probe-every", "", func(value string) error {
			ms, err := strconv.ParseUint(value, 10, 31)
			if err != nil || ms == 0 {
				return errors.New("not a number of milliseconds")
			}
			local.probeEvery = time.Duration(ms) * time.Millisecond
			return nil
		})
		flags.BoolVar(&circuits.relay, "relay", false, "")
		flags.Int64Var(&circuits.data, "relay-data", 0, "")
		flags.Func("reserve", "", func(value string) (err error) {
			circuits.reserve, err = peer.AddrInfoFromString(value)
			return err
		})
		flags.Func("addr", "", func(value string) (err error) {
			addr, err = ma.NewMultiaddr(value)
			return err
		})
		if _, err := parseFlags(flags, args, 0); err != nil {
			return nil, err
		}
		if cfg.transport == "" {
			return nil, errors.New("missing --transport")
		}
		if addr == nil {
			addr = cfg.defaultListenAddr()
		}
		return func(out *emitter) error { return listen(cfg, circuits, local, addr, out) }, nil

	case "dial", "echo":
		pings := flags.Uint("pings", 3, "")
		count := flags.Uint64("bytes", 100_000, "")
		positional, err := parseFlags(flags, args, 1)
		if err != nil {
			return nil, err
		}
		if cfg.transport == "" {
			return nil, errors.New("missing --transport")
		}
		target, err := peer.AddrInfoFromString(positional[0])
		if err != nil {
			return nil, fmt.Errorf("invalid address %q: %w", positional[0], err)
		}
		if subcommand == "echo" {
			return func(out *emitter) error { return echo(cfg, *target, *count, out) }, nil
		}
		return func(out *emitter) error { return dial(cfg, *target, *pings, out) }, nil

	default:
		return nil, fmt.Errorf("unknown subcommand %q", subcommand)
	}
}

// parseFlags parses flags that stand before, between and after exactly want positional arguments, which it
// returns. The flag package alone stops at the first positional one.
func parseFlags(flags *flag.FlagSet, args []string, want int) ([]string, error) {
	var positional []string
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		if flags.NArg() == 0 {
			break
		}
		positional = append(positional, flags.Arg(0))
		args = flags.Args()[1:]
	}
	if len(positional) != want {
		return nil, fmt.Errorf("%s takes %d positional arguments, not %d", flags.Name(), want, len(positional))
	}
	return positional, nil
}

// oneOf returns a flag setter that takes only one of the choices.
func oneOf(target *string, choices ...string) func(string) error {
	return func(value string) error {
		if !slices.Contains(choices, value) {
			return fmt.Errorf("not one of %q", choices)
		}
		*target = value
		return nil
	}
}
