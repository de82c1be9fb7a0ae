//! Medians, ratios and targets, as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use tests::harness::peers::Stack;
use tests::harness::table::Table;

use crate::contender::{Contender, Who};
use crate::measure::Sizes;

#[derive(Serialize)]
pub(crate) struct Report {
    quick: bool,
    rounds: u32,
    cores: usize,
    sizes: Sizes,
    areas: [Area; 3],
}

/// One thing that was measured, of all contenders.
#[derive(Serialize)]
pub(crate) struct Area {
    name: &'static str,
    unit: &'static str,
    #[serde(skip)]
    target: fn(Stack) -> Option<Target>,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    contender: String,
    #[serde(skip)]
    who: Who,
    #[serde(skip)]
    stack: Stack,
    /// In the order of the rounds.
    values: Vec<f64>,
    /// Numbers of the last round that are shown but not compared.
    notes: BTreeMap<&'static str, f64>,
    median: f64,
    /// To rust-libp2p over the same stack.
    ratio: Option<f64>,
    target: Option<String>,
    met: Option<bool>,
}

/// What Bowline has to reach over a stack.
#[derive(Clone, Copy)]
enum Target {
    RatioAtLeast(f64),
    RatioAtMost(f64),
    AtMost(f64),
}

impl Area {
    pub(crate) fn bulk() -> Self {
        Self::new("bulk over one stream", "GiB/s", |stack| match stack {
            Stack::TcpTls => Some(Target::RatioAtLeast(1.3)),
            Stack::TcpNoise | Stack::Quic => Some(Target::RatioAtLeast(1.0)),
        })
    }

    pub(crate) fn connects() -> Self {
        Self::new("connect to first pong, p50", "ms", |_| {
            Some(Target::RatioAtMost(0.75))
        })
    }

    pub(crate) fn memory() -> Self {
        Self::new(
            "resident memory an idle connection, server",
            "KiB",
            |stack| match stack {
                Stack::TcpTls => Some(Target::AtMost(24.0)),
                Stack::TcpNoise => None,
                Stack::Quic => Some(Target::AtMost(60.0)),
            },
        )
    }

    fn new(name: &'static str, unit: &'static str, target: fn(Stack) -> Option<Target>) -> Self {
        Self {
            name,
            unit,
            target,
            rows: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, contender: &Contender, value: f64) {
        self.add_with(contender, value, BTreeMap::new());
    }

    pub(crate) fn add_with(
        &mut self,
        contender: &Contender,
        value: f64,
        notes: BTreeMap<&'static str, f64>,
    ) {
        let (name, who, stack) = (contender.name(), contender.who, contender.stack);
        match self.rows.iter_mut().find(|row| row.contender == name) {
            Some(row) => {
                row.values.push(value);
                row.notes = notes;
            }
            None => self.rows.push(Row {
                contender: name,
                who,
                stack,
                values: vec![value],
                notes,
                median: 0.0,
                ratio: None,
                target: None,
                met: None,
            }),
        }
    }

    /// Fills in what follows from the values. Quick sizes are not held against the targets.
    fn conclude(&mut self, judge: bool) {
        for row in &mut self.rows {
            row.median = median(&row.values);
        }
        let of_peer = |rows: &[Row], stack| {
            rows.iter()
                .find(|row| row.who == Who::RustLibp2p && row.stack == stack)
                .map(|row| row.median)
        };
        for index in 0..self.rows.len() {
            let base = of_peer(&self.rows, self.rows[index].stack);
            let row = &mut self.rows[index];
            row.ratio = base.map(|base| row.median / base);
            if let (true, Who::Bowline, Some(target)) = (judge, row.who, (self.target)(row.stack)) {
                row.target = Some(target.to_string());
                row.met = Some(target.met(row.median, row.ratio));
            }
        }
    }
}

impl Target {
    fn met(self, median: f64, ratio: Option<f64>) -> bool {
        match self {
            Self::RatioAtLeast(least) => ratio.is_some_and(|ratio| ratio >= least),
            Self::RatioAtMost(most) => ratio.is_some_and(|ratio| ratio <= most),
            Self::AtMost(most) => median <= most,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RatioAtLeast(least) => write!(f, "≥ {least}×"),
            Self::RatioAtMost(most) => write!(f, "≤ {most}×"),
            Self::AtMost(most) => write!(f, "≤ {most}"),
        }
    }
}

impl Report {
    pub(crate) fn new(sizes: Sizes, rounds: u32, quick: bool, mut areas: [Area; 3]) -> Self {
        areas.iter_mut().for_each(|area| area.conclude(!quick));
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        Self {
            quick,
            rounds,
            cores,
            sizes,
            areas,
        }
    }

    /// How many targets were missed.
    pub(crate) fn missed(&self) -> usize {
        let rows = self.areas.iter().flat_map(|area| &area.rows);
        rows.filter(|row| row.met == Some(false)).count()
    }

    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for area in &self.areas {
            writeln!(
                f,
                "\n{} ({}), median of {}",
                area.name, area.unit, self.rounds
            )?;
            let mut table = Table::new(&[
                "contender",
                "median",
                "to rust-libp2p",
                "target",
                "met",
                "notes",
            ]);
            for row in &area.rows {
                let notes = row
                    .notes
                    .iter()
                    .map(|(name, value)| format!("{name} {value:.2}"));
                table.row([
                    row.contender.clone(),
                    format!("{:.2}", row.median),
                    row.ratio
                        .map(|ratio| format!("{ratio:.2}×"))
                        .unwrap_or_default(),
                    row.target.clone().unwrap_or_default(),
                    row.met
                        .map(|met| if met { "yes" } else { "no" }.to_owned())
                        .unwrap_or_default(),
                    notes.collect::<Vec<_>>().join(", "),
                ]);
            }
            write!(f, "{table}")?;
        }
        if self.quick {
            writeln!(f, "\nquick sizes: see that it works, do not compare")?;
        }
        Ok(())
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}
