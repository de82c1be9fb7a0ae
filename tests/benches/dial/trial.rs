//! What is measured: one at a time or many, the proxy near or far.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tests::harness::bench::{Area, Entry, Options, Target};
use tests::harness::process::{Deadline, Event, run};

use crate::servers::Servers;

/// How long a trial may take in one round.
const PATIENCE: Duration = Duration::from_secs(180);

/// How many dials are under way where it is not one.
const MANY: u32 = 32;

/// What a proxy's dialer may cost more than the library in it,
const SOCKS5_AT_MOST: f64 = 1.1;

/// and how many dials in a second there are at least. That is the same, rounded up.
const SOCKS5_AT_LEAST: f64 = 0.91;

/// What is left of a dial when the proxy is far and a spare connection to it is ready.
const WARM_AT_MOST: f64 = 0.7;

/// Ways that are compared with each other, the bare one first.
type Ways = &'static [Way];

/// Everybody dials the same target directly.
const DIRECT: Ways = &[Way::Tcp, Way::TcpOptions, Way::Direct];

/// Everybody dials it by the same proxy.
const PROXIED: Ways = &[Way::TokioSocks, Way::Socks5];

/// The proxy is so far that spare connections to it are worth having.
const SPARED: Ways = &[Way::TokioSocks, Way::Socks5, Way::Warm];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Tcp,
    TcpOptions,
    Direct,
    TokioSocks,
    Socks5,
    Warm,
}

/// One area of the report.
pub(crate) struct Trial {
    name: &'static str,
    figure: Figure,
    far: bool,
    pub(crate) ways: &'static [Ways],
    quick: Size,
    full: Size,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Figure {
    /// The median dial, in microseconds.
    Micros,
    /// The median dial, in milliseconds.
    Millis,
    /// Dials in a second.
    Rate,
}

/// How many dials each way makes in a round.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Size {
    turns: u32,
    dials: u32,
    at_once: u32,
}

impl Way {
    /// What `bench-dial` calls it.
    fn key(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::TcpOptions => "tcp-options",
            Self::Direct => "direct",
            Self::TokioSocks => "tokio-socks",
            Self::Socks5 => "socks5",
            Self::Warm => "warm",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "bare tokio",
            Self::TcpOptions => "bare tokio, options set",
            Self::Direct => "bowline Direct",
            Self::TokioSocks => "bare tokio-socks",
            Self::Socks5 => "bowline Socks5",
            Self::Warm => "bowline Warm over Socks5",
        }
    }
}

impl Size {
    const fn new(turns: u32, dials: u32, at_once: u32) -> Self {
        Self {
            turns,
            dials,
            at_once,
        }
    }
}

impl Trial {
    pub(crate) const ALL: [Self; 4] = [
        Self {
            name: "a dial, p50",
            figure: Figure::Micros,
            far: false,
            ways: &[DIRECT, PROXIED],
            quick: Size::new(2, 50, 1),
            full: Size::new(40, 100, 1),
        },
        Self {
            name: "dials, 32 at once",
            figure: Figure::Rate,
            far: false,
            ways: &[DIRECT, PROXIED],
            quick: Size::new(2, 200, MANY),
            full: Size::new(20, 1_000, MANY),
        },
        Self {
            name: "a dial, 20 ms to the proxy, p50",
            figure: Figure::Millis,
            far: true,
            ways: &[SPARED],
            quick: Size::new(2, 5, 1),
            full: Size::new(5, 40, 1),
        },
        Self {
            name: "dials, 20 ms to the proxy, 32 at once",
            figure: Figure::Rate,
            far: true,
            ways: &[SPARED],
            quick: Size::new(2, 100, MANY),
            full: Size::new(5, 500, MANY),
        },
    ];

    pub(crate) fn area(&self) -> Area {
        let unit = match self.figure {
            Figure::Micros => "µs",
            Figure::Millis => "ms",
            Figure::Rate => "a second",
        };
        Area::new(self.name, unit)
    }

    pub(crate) fn size(&self, options: &Options) -> Size {
        options.pick(self.quick, self.full)
    }

    /// Lets these ways take turns and adds what came of it.
    pub(crate) fn run(
        &self,
        servers: &Servers,
        ways: Ways,
        options: &Options,
        area: &mut Area,
    ) -> Result<()> {
        let size = self.size(options);
        let keys: Vec<&str> = ways.iter().map(|way| way.key()).collect();
        let mut command = servers.command(&["dials", &servers.target.to_string()]);
        let proxy = if self.far { servers.far } else { servers.proxy };
        command.args(["--proxy", &proxy.to_string()]);
        command.args(["--ways", &keys.join(",")]);
        command.args(["--turns", &size.turns.to_string()]);
        command.args(["--dials", &size.dials.to_string()]);
        command.args(["--at-once", &size.at_once.to_string()]);
        let finished = run(self.name, &mut command, Deadline::within(PATIENCE))?;
        ensure!(finished.code == Some(0), "{}: {finished:?}", self.name);
        let events = finished.events()?;
        for way in ways {
            let event = events.iter().find(|event| event.text("way") == way.key());
            let event = event.with_context(|| format!("no result of {}", way.name()))?;
            let dials = f64::from(size.turns * size.dials);
            ensure!(
                event.number("count")? == dials,
                "not {dials} dials: {}",
                event.0
            );
            self.add(area, *way, ways[0], event)?;
        }
        Ok(())
    }

    fn add(&self, area: &mut Area, way: Way, bare: Way, event: &Event) -> Result<()> {
        let [p50, p99] = ["p50_us", "p99_us"].map(|field| event.number(field));
        let (p50, p99, rate) = (p50?, p99?, event.number("per_second")?);
        let entry = Entry {
            name: way.name().to_owned(),
            against: (way != bare).then(|| bare.name().to_owned()),
            target: self.target(way),
        };
        match self.figure {
            Figure::Micros => area.add(entry, p50, &[("p99_us", p99)]),
            Figure::Millis => area.add(entry, p50 / 1e3, &[("p99_ms", p99 / 1e3)]),
            Figure::Rate => {
                let notes = [("p50_ms", p50 / 1e3), ("p99_ms", p99 / 1e3)];
                area.add(entry, rate, &notes);
            }
        }
        Ok(())
    }

    fn target(&self, way: Way) -> Option<Target> {
        match (way, self.figure) {
            (Way::Socks5, Figure::Micros) => Some(Target::RatioAtMost(SOCKS5_AT_MOST)),
            (Way::Socks5, Figure::Rate) if !self.far => Some(Target::RatioAtLeast(SOCKS5_AT_LEAST)),
            (Way::Warm, Figure::Millis) => Some(Target::RatioAtMost(WARM_AT_MOST)),
            _ => None,
        }
    }
}
