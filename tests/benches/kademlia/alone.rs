//! What needs no sockets: the memory of routing tables, and the hops and requests of lookups in a large network.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::harness::bench::{Area, Target};
use tests::harness::process::{Deadline, Event, run};

use crate::Sizes;
use crate::contender::Contender;

/// How long one program may take.
const PATIENCE: Duration = Duration::from_secs(900);

/// The memory of routing tables per entry, each with its share of what an empty table takes.
pub(crate) fn memory(sizes: &Sizes, rounds: u32) -> Result<Area> {
    let mut area = Area::new("memory of routing tables per entry", "bytes");
    let flags = [("--tables", sizes.tables), ("--peers", sizes.peers)];
    for _ in 0..rounds {
        for contender in Contender::BOTH {
            let table = job(contender, "table", &flags)?;
            let (entries, bytes) = (table.number("entries")?, table.number("bytes")?);
            let of_empty = table.number("bytes_of_empty_tables")?;
            let notes = [
                ("without_empty_table", (bytes - of_empty) / entries),
                ("entries_per_table", entries / sizes.tables as f64),
                ("empty_table", of_empty / sizes.tables as f64),
            ];
            area.add(contender.entry("", None), bytes / entries, &notes);
        }
    }
    Ok(area)
}

/// The hops and the requests of lookups in the same network of both stacks. One run is enough: the figures depend on the ids of
/// the nodes, and hardly on the machine.
pub(crate) fn network(sizes: &Sizes) -> Result<[Area; 2]> {
    let mut hops = Area::new("hops per lookup in a large network", "hops");
    let mut requests = Area::new("requests per lookup in a large network", "requests");
    let flags = [("--nodes", sizes.nodes), ("--lookups", sizes.lookups)];
    for contender in Contender::BOTH {
        eprintln!("a network of {} nodes of {}", sizes.nodes, contender.name());
        let network = job(contender, "network", &flags)?;
        let good = network.number("good")? / sizes.lookups as f64;
        for (area, field) in [(&mut hops, "hops"), (&mut requests, "requests")] {
            let values = numbers(&network, field)?;
            // A few lookups of rust-libp2p may have no known number of hops.
            ensure!(
                values.len() * 20 >= sizes.lookups * 19,
                "only {} {field}",
                values.len()
            );
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let most = values.iter().copied().fold(0.0, f64::max);
            let entry = contender.entry("", Some(Target::RatioAtMost(1.0)));
            area.add(entry, mean, &[("most", most), ("good", good)]);
        }
    }
    Ok([hops, requests])
}

fn numbers(event: &Event, field: &str) -> Result<Vec<f64>> {
    let values = event.0[field].as_array();
    let values = values.with_context(|| format!("no {field}"))?;
    Ok(values.iter().filter_map(Value::as_f64).collect())
}

/// Runs a job to its end and gives its event.
fn job(contender: Contender, job: &str, flags: &[(&str, usize)]) -> Result<Event> {
    let flags = flags.iter();
    let flags: Vec<String> = flags
        .flat_map(|(flag, value)| [(*flag).to_owned(), value.to_string()])
        .collect();
    let mut command = contender.job(job, &flags)?;
    let finished = run(job, &mut command, Deadline::within(PATIENCE))?;
    ensure!(finished.code == Some(0), "{job}: {finished:?}");
    let mut events = finished.events()?.into_iter();
    let event = events.find(|event| event.kind() == job);
    event.with_context(|| format!("{job}: nothing was said"))
}
