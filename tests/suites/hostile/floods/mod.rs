//! The attacks. Each module has the floods of one layer.

mod admin;
mod names;
mod quic;
mod relay;
mod sockets;
mod streams;
mod yamux;

use std::net::Ipv4Addr;

use crate::Flood;

/// The settings of a node under attack: loopback addresses are limited like any others.
const LIMITED: &str = "[limits]\nexempt_private = false\n";

/// All floods, in the order in which they run.
pub(crate) const ALL: &[Flood] = &[
    Flood {
        name: "silent-16",
        run: sockets::silent_16,
    },
    Flood {
        name: "silent-fast",
        run: sockets::silent_fast,
    },
    Flood {
        name: "trickle",
        run: sockets::trickle,
    },
    Flood {
        name: "hold-places",
        run: sockets::hold_places,
    },
    Flood {
        name: "connect-and-close",
        run: sockets::connect_and_close,
    },
    Flood {
        name: "initials",
        run: quic::initials,
    },
    Flood {
        name: "quic-closes",
        run: quic::closes,
    },
    Flood {
        name: "frames-64",
        run: yamux::frames_64,
    },
    Flood {
        name: "frames-256",
        run: yamux::frames_256,
    },
    Flood {
        name: "pushes",
        run: streams::pushes,
    },
    Flood {
        name: "renewals",
        run: streams::renewals,
    },
    Flood {
        name: "relay-ttl",
        run: relay::short_ttl,
    },
    Flood {
        name: "relay-addresses",
        run: relay::many_addresses,
    },
    Flood {
        name: "relay-circuits",
        run: relay::many_circuits,
    },
    Flood {
        name: "names",
        run: names::of_a_node,
    },
    Flood {
        name: "names-of-a-ping",
        run: names::of_a_ping,
    },
    Flood {
        name: "admin",
        run: admin::by_another_user,
    },
];

/// The nth address of an attacker with 256 addresses in 8 subnets.
fn source(n: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 10 + (n % 8) as u8, 0, 1 + (n / 8 % 32) as u8)
}
