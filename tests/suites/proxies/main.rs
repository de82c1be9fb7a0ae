//! Bowline through real proxy servers: every server × IPv4, IPv6 and a name × no, right and wrong credentials; chains of
//! two; no packet past the proxy; and what becomes of the balance between three of them when one dies.
//!
//! `cargo xtask integration proxies` names the servers' programs in `PROXY_MICROSOCKS`, `PROXY_DANTE`, `PROXY_TINYPROXY`
//! and `PROXY_SQUID`. The cells of a server that is not named are skipped.

mod balance;
mod client;
mod configs;
mod leak;
mod matrix;
mod network;
mod report;
mod servers;
mod ways;

use std::process::ExitCode;

use anyhow::{Result, anyhow};

use matrix::{Node, Pair};
use report::Report;
use servers::Kind;

/// Two proxies of a row: over each of the protocols to one of the other.
const CHAINS: [[Kind; 2]; 2] = [
    [Kind::Microsocks, Kind::Tinyproxy],
    [Kind::Squid, Kind::Dante],
];

fn main() -> ExitCode {
    let mut report = Report::new();
    match Node::start() {
        Ok(node) => {
            through_servers(&mut report, &node);
            report.cell(["bowline", "", "end"], || node.end());
        }
        Err(error) => report.cell(["bowline", "", "start"], || Err(error)),
    }
    let microsocks = Kind::Microsocks.program();
    leak::run(&mut report, microsocks.as_deref());
    balance::run(&mut report, microsocks.as_deref());
    report.finish()
}

fn through_servers(report: &mut Report, node: &Node) {
    let mut pairs = Vec::new();
    for kind in Kind::ALL {
        if kind.program().is_none() {
            report.skip([kind.name(), "all", "all"], "not there");
            continue;
        }
        let pair = Pair::start(kind);
        matrix::run(report, kind, &pair, node);
        pairs.push((kind, pair));
    }
    for kinds in CHAINS {
        let way = kinds.map(Kind::name).join(" then ");
        let names = [way.as_str(), "domain", "auth at the second"];
        match ways::both(&pairs, kinds) {
            None => report.skip(names, "not both there"),
            Some([first, second]) => report.cell(names, || {
                ways::chain(started(first)?, started(second)?, node)
            }),
        }
    }
    for (kind, pair) in &pairs {
        report.cell([kind.name(), "quic", "no auth"], || {
            ways::quic_by_proxy(started(pair)?, node)
        });
    }
    report.cell(["direct", "quic", ""], || ways::quic_direct(node));
    for (kind, pair) in pairs {
        report.cell([kind.name(), "ipv4", "gone"], || ways::gone(pair?, node));
    }
}

fn started(pair: &Result<Pair>) -> Result<&Pair> {
    pair.as_ref().map_err(|error| anyhow!("{error:#}"))
}
