//! Two machines, a relay with a latency in each direction, and a clock that only moves when nothing is left to do.

use std::collections::BTreeMap;

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    A,
    B,
}

/// What the relay does to the packet with the given number and to all after it. The opening of a stream is one packet
/// each way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    None,
    /// The stream is reset at both ends in its stead.
    Cut(usize),
    /// Nothing arrives any more, and nobody is told.
    Silence(usize),
}

/// How the dial of an end in an attempt goes: after how long it ends, and how. `None`: the host never says.
pub(super) type Script = fn(End, u8) -> Option<(Duration, DialResult)>;

#[derive(Debug)]
enum Packet {
    Open,
    Opened,
    Bytes(Vec<u8>),
    Closed,
    /// Not the relay's: the host's word on a dial.
    Result(u8, DialResult),
    /// Nor this: the other end's dial came in.
    Connected,
}

pub(super) struct World {
    pub(super) start: Instant,
    now: Instant,
    /// The relay's latency towards each end.
    pub(super) to_a: Duration,
    pub(super) to_b: Duration,
    trouble: Trouble,
    script: Script,
    /// Whether A closes a stream once it has the SYNC, as go and rust do.
    pub(super) a_closes: bool,
    a: Option<Responder<String>>,
    pub(super) b: Initiator<String>,
    flights: BTreeMap<(Instant, usize), (End, usize, Packet)>,
    sent: usize,
    scheduled: usize,
    /// Streams opened so far; a packet of an earlier one is thrown away.
    pub(super) streams: usize,
    /// Who dialed what, and when.
    pub(super) dials: Vec<(End, Instant, Dial<String>)>,
    pub(super) ends: Vec<(End, Instant, Event<String>)>,
}

impl World {
    pub(super) fn new(public: &[&str], script: Script) -> Self {
        let start = Instant::now();
        let public = public.iter().map(|address| (*address).to_owned()).collect();
        Self {
            start,
            now: start,
            to_a: ms(25),
            to_b: ms(25),
            trouble: Trouble::None,
            script,
            a_closes: true,
            a: None,
            b: Initiator::new(start, UpgradeConfig::default(), named(&["b"]), public),
            flights: BTreeMap::new(),
            sent: 0,
            scheduled: 0,
            streams: 0,
            dials: Vec::new(),
            ends: Vec::new(),
        }
    }

    pub(super) fn with_latency(mut self, to_a: Duration, to_b: Duration) -> Self {
        (self.to_a, self.to_b) = (to_a, to_b);
        self
    }

    pub(super) fn with_trouble(mut self, trouble: Trouble) -> Self {
        self.trouble = trouble;
        self
    }

    /// Runs until both ends are done, or nothing more can happen.
    pub(super) fn run(mut self) -> Self {
        for _ in 0..1_000 {
            self.drain();
            let flight = self.flights.first_key_value().map(|((at, _), _)| *at);
            let a = self.a.as_ref().and_then(Responder::poll_timeout);
            let next = [flight, a, self.b.poll_timeout()].into_iter().flatten();
            let Some(next) = next.min() else {
                return self;
            };
            assert!(next >= self.now, "a timeout that has passed was left");
            self.now = next;
            if flight == Some(next) {
                let (_, (end, stream, packet)) = self.flights.pop_first().unwrap();
                self.deliver(end, stream, packet);
            } else {
                self.b.handle_timeout(next);
                if let Some(a) = &mut self.a {
                    a.handle_timeout(next);
                }
            }
        }
        panic!("no end in sight: {:?} {:?}", self.a, self.b);
    }

    pub(super) fn end_of(&self, end: End) -> &Event<String> {
        let mut ends = self.ends.iter().filter(|(of, ..)| *of == end);
        let (_, _, event) = ends.next().unwrap_or_else(|| panic!("{end:?} has no end"));
        assert_eq!(ends.next(), None, "two ends");
        event
    }

    pub(super) fn dials_of(&self, end: End) -> Vec<(Duration, Role)> {
        let dials = self.dials.iter().filter(|(of, ..)| *of == end);
        dials
            .map(|(_, when, dial)| (*when - self.start, dial.role))
            .collect()
    }

    fn drain(&mut self) {
        while let Some(event) = self.b.poll_event() {
            self.act(End::B, event);
        }
        while let Some(event) = self.a.as_mut().and_then(Responder::poll_event) {
            self.act(End::A, event);
        }
    }

    fn act(&mut self, end: End, event: Event<String>) {
        match event {
            Event::OpenStream => {
                self.streams += 1;
                self.send(End::A, Packet::Open);
            }
            Event::Send(bytes) => self.send(other(end), Packet::Bytes(bytes)),
            Event::Dial(dial) => {
                if let Some((lasts, result)) = (self.script)(end, dial.attempt) {
                    self.schedule(lasts, end, Packet::Result(dial.attempt, result));
                }
                if end == End::A && self.a_closes {
                    self.send(End::B, Packet::Closed);
                }
                self.dials.push((end, self.now, dial));
            }
            event @ (Event::Succeeded { .. } | Event::Failed { .. }) => {
                if matches!(event, Event::Failed { .. }) && self.streams > 0 {
                    self.send(other(end), Packet::Closed);
                }
                self.ends.push((end, self.now, event));
            }
        }
    }

    /// Over the relay, and whatever the relay does.
    fn send(&mut self, to: End, packet: Packet) {
        self.sent += 1;
        let latency = if to == End::A { self.to_a } else { self.to_b };
        match self.trouble {
            Trouble::Silence(from) if self.sent >= from => {}
            Trouble::Cut(at) if self.sent == at => {
                self.schedule(Duration::ZERO, End::A, Packet::Closed);
                self.schedule(Duration::ZERO, End::B, Packet::Closed);
            }
            Trouble::Cut(at) if self.sent > at => {}
            _ => self.schedule(latency, to, packet),
        }
    }

    fn schedule(&mut self, wait: Duration, to: End, packet: Packet) {
        self.scheduled += 1;
        let key = (self.now + wait, self.scheduled);
        self.flights.insert(key, (to, self.streams, packet));
    }

    fn deliver(&mut self, to: End, stream: usize, packet: Packet) {
        let now = self.now;
        let is_old = stream != self.streams;
        match (to, packet) {
            (End::A, Packet::Result(attempt, result)) => {
                let a = self.a.as_mut().unwrap();
                a.handle_dial_result(now, attempt, result);
                self.tell_the_other(to, result);
            }
            (End::B, Packet::Result(attempt, result)) => {
                self.b.handle_dial_result(now, attempt, result);
                self.tell_the_other(to, result);
            }
            (End::A, Packet::Connected) => {
                if let Some(a) = &mut self.a {
                    a.handle_connected(now);
                }
            }
            (End::B, Packet::Connected) => self.b.handle_connected(now),
            _ if is_old => {}
            (End::A, packet) => self.deliver_to_a(packet),
            (End::B, Packet::Bytes(bytes)) => self.b.handle_received(now, &bytes, read),
            (End::B, Packet::Closed) => self.b.handle_stream_closed(now),
            (End::B, _) => self.b.handle_stream_opened(now),
        }
    }

    fn deliver_to_a(&mut self, packet: Packet) {
        let now = self.now;
        match (&mut self.a, packet) {
            (Some(a), Packet::Open) => match a.handle_stream_opened(now) {
                Ok(()) => self.send(End::B, Packet::Opened),
                Err(_) => self.send(End::B, Packet::Closed),
            },
            (None, Packet::Open) => {
                let own = named(&["a"]);
                self.a = Some(Responder::new(now, UpgradeConfig::default(), own));
                self.send(End::B, Packet::Opened);
            }
            (Some(a), Packet::Bytes(bytes)) => a.handle_received(now, &bytes, read),
            (Some(a), Packet::Closed) => a.handle_stream_closed(now),
            (_, _) => {}
        }
    }

    /// A connection has two ends.
    fn tell_the_other(&mut self, end: End, result: DialResult) {
        if result == DialResult::Connected {
            self.schedule(Duration::ZERO, other(end), Packet::Connected);
        }
    }
}

fn other(end: End) -> End {
    match end {
        End::A => End::B,
        End::B => End::A,
    }
}
