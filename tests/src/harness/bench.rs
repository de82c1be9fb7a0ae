//! What benchmarks have in common: their flags, and medians, ratios and targets as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use anyhow::{Context, Result};
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;

use super::table::Table;

/// The flags of every benchmark.
#[derive(Debug, Parser)]
pub struct Options {
    /// How often each contender has its turn
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Small sizes and one round, to see that everything works: the numbers mean little
    #[arg(long)]
    quick: bool,
    /// Exit with 1 if a target is missed
    #[arg(long, conflicts_with = "quick")]
    enforce: bool,
    /// What `cargo bench` adds by itself
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// How often each contender has its turn.
    #[must_use]
    pub fn rounds(&self) -> u32 {
        if self.quick { 1 } else { self.rounds }
    }

    /// The first of two sizes for a quick run, the second for one that counts.
    #[must_use]
    pub fn pick<S>(&self, quick: S, full: S) -> S {
        if self.quick { quick } else { full }
    }
}

/// The main function of a benchmark: measures, prints the report and writes it to the file that `BENCH_OUT` names.
pub fn run<S: Serialize>(measure: impl FnOnce(&Options) -> Result<Report<S>>) -> ExitCode {
    let options = Options::parse();
    let measured = measure(&options).and_then(|mut report| {
        report.conclude(&options);
        print!("{report}");
        let file = std::env::var_os("BENCH_OUT").context("BENCH_OUT does not name a file")?;
        let file = PathBuf::from(file);
        report.write(&file)?;
        println!("written to {}", file.display());
        Ok(report.missed())
    });
    match measured {
        Ok(missed) => ExitCode::from(u8::from(options.enforce && missed > 0)),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The usual soft limit of 1,024 open files is less than a server with 1,000 connections needs. Children inherit it.
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        eprintln!("the limit of open files stays as it is: {error}");
    }
}

/// One run.
#[derive(Debug, Serialize)]
pub struct Report<S> {
    quick: bool,
    rounds: u32,
    cores: usize,
    sizes: S,
    areas: Vec<Area>,
}

/// One thing that was measured, of all contenders.
#[derive(Debug, Serialize)]
pub struct Area {
    name: &'static str,
    unit: &'static str,
    rows: Vec<Row>,
}

/// A contender in an area, and what it is held against there.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Who it is.
    pub name: String,
    /// Whose median the ratio is to: another contender of the same area.
    pub against: Option<String>,
    /// What it has to reach.
    pub target: Option<Target>,
}

#[derive(Debug, Serialize)]
struct Row {
    contender: String,
    /// In the order of the rounds.
    values: Vec<f64>,
    #[serde(skip)]
    noted: BTreeMap<&'static str, Vec<f64>>,
    /// Medians of what is shown but not compared.
    notes: BTreeMap<&'static str, f64>,
    median: f64,
    against: Option<String>,
    /// To the median of the one it is held against.
    ratio: Option<f64>,
    #[serde(skip)]
    aim: Option<Target>,
    target: Option<String>,
    met: Option<bool>,
}

/// What a contender has to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// A ratio, where more is better.
    RatioAtLeast(f64),
    /// A ratio, where less is better.
    RatioAtMost(f64),
    /// A median in the area's unit, where less is better.
    AtMost(f64),
    /// A median in the area's unit, where more is better.
    AtLeast(f64),
}

impl Area {
    /// An area without rows.
    #[must_use]
    pub fn new(name: &'static str, unit: &'static str) -> Self {
        Self {
            name,
            unit,
            rows: Vec::new(),
        }
    }

    /// Adds what one round gave. Rows stand in the order in which they were first added.
    pub fn add(&mut self, entry: Entry, value: f64, notes: &[(&'static str, f64)]) {
        let known = self.rows.iter().position(|row| row.contender == entry.name);
        let index = known.unwrap_or_else(|| {
            self.rows.push(Row::new(entry));
            self.rows.len() - 1
        });
        let row = &mut self.rows[index];
        row.values.push(value);
        for (name, value) in notes {
            row.noted.entry(name).or_default().push(*value);
        }
    }

    /// Fills in what follows from the values. Quick sizes are not held against the targets.
    fn conclude(&mut self, judge: bool) {
        for row in &mut self.rows {
            row.median = median(&row.values);
            let notes = row.noted.iter();
            row.notes = notes
                .map(|(name, values)| (*name, median(values)))
                .collect();
        }
        let medians: BTreeMap<String, f64> = self.rows.iter().map(Row::named_median).collect();
        for row in &mut self.rows {
            let base = row.against.as_ref().and_then(|name| medians.get(name));
            row.ratio = base.map(|base| row.median / base);
            if let (true, Some(target)) = (judge, row.aim) {
                row.target = Some(target.to_string());
                row.met = Some(target.is_met(row.median, row.ratio));
            }
        }
    }
}

impl Row {
    fn new(entry: Entry) -> Self {
        Self {
            contender: entry.name,
            values: Vec::new(),
            noted: BTreeMap::new(),
            notes: BTreeMap::new(),
            median: f64::NAN,
            against: entry.against,
            ratio: None,
            aim: entry.target,
            target: None,
            met: None,
        }
    }

    fn named_median(&self) -> (String, f64) {
        (self.contender.clone(), self.median)
    }

    fn cells(&self) -> [String; 7] {
        let notes = self.notes.iter();
        let notes: Vec<_> = notes
            .map(|(name, value)| format!("{name} {value:.2}"))
            .collect();
        let met = |met| if met { "yes" } else { "no" };
        [
            self.contender.clone(),
            format!("{:.2}", self.median),
            self.ratio
                .map(|ratio| format!("{ratio:.2}×"))
                .unwrap_or_default(),
            self.against.clone().unwrap_or_default(),
            self.target.clone().unwrap_or_default(),
            self.met.map(met).unwrap_or_default().to_owned(),
            notes.join(", "),
        ]
    }
}

impl Target {
    fn is_met(self, median: f64, ratio: Option<f64>) -> bool {
        match self {
            Self::RatioAtLeast(least) => ratio.is_some_and(|ratio| ratio >= least),
            Self::RatioAtMost(most) => ratio.is_some_and(|ratio| ratio <= most),
            Self::AtMost(most) => median <= most,
            Self::AtLeast(least) => median >= least,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RatioAtLeast(least) => write!(f, "≥ {least}×"),
            Self::RatioAtMost(most) => write!(f, "≤ {most}×"),
            Self::AtMost(most) => write!(f, "≤ {most}"),
            Self::AtLeast(least) => write!(f, "≥ {least}"),
        }
    }
}

impl<S: Serialize> Report<S> {
    /// What a run with these flags and sizes gave.
    #[must_use]
    pub fn new(options: &Options, sizes: S, areas: Vec<Area>) -> Self {
        Self {
            quick: options.quick,
            rounds: options.rounds(),
            cores: thread::available_parallelism().map_or(0, usize::from),
            sizes,
            areas,
        }
    }

    fn conclude(&mut self, options: &Options) {
        for area in &mut self.areas {
            area.conclude(!options.quick);
        }
    }

    fn missed(&self) -> usize {
        let rows = self.areas.iter().flat_map(|area| &area.rows);
        rows.filter(|row| row.met == Some(false)).count()
    }

    fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }
}

impl<S> fmt::Display for Report<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for area in &self.areas {
            let (name, unit) = (area.name, area.unit);
            writeln!(f, "\n{name} ({unit}), median of {}", self.rounds)?;
            let heading = [
                "contender",
                "median",
                "ratio",
                "to",
                "target",
                "met",
                "notes",
            ];
            let mut table = Table::new(&heading);
            for row in &area.rows {
                table.row(row.cells());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn area(target: Target, base: &[f64], ours: &[f64]) -> Area {
        let mut area = Area::new("dial", "ms");
        let entry = |name: &str, against: Option<&str>, target| Entry {
            name: name.to_owned(),
            against: against.map(str::to_owned),
            target,
        };
        for (base, ours) in base.iter().zip(ours) {
            area.add(entry("bare", None, None), *base, &[]);
            area.add(
                entry("ours", Some("bare"), Some(target)),
                *ours,
                &[("p99", ours * 2.0)],
            );
        }
        area
    }

    #[test]
    fn a_ratio_is_of_medians_and_notes_are_medians_too() {
        let mut area = area(
            Target::RatioAtMost(1.1),
            &[4.0, 90.0, 2.0],
            &[5.0, 6.0, 1.0],
        );
        area.conclude(true);
        let [bare, ours] = area.rows.as_slice() else {
            panic!("not two rows: {area:?}");
        };
        assert_eq!((bare.median, bare.ratio, bare.met), (4.0, None, None));
        assert_eq!(
            (ours.median, ours.ratio, ours.met),
            (5.0, Some(1.25), Some(false))
        );
        assert_eq!(ours.notes["p99"], 10.0);
        assert_eq!(ours.values, [5.0, 6.0, 1.0]);
    }

    #[test]
    fn a_target_is_met_up_to_its_very_number() {
        let met = |target, ours| {
            let mut area = area(target, &[4.0], &[ours]);
            area.conclude(true);
            area.rows[1].met.expect("it was judged")
        };
        assert!(met(Target::RatioAtMost(0.5), 2.0) && !met(Target::RatioAtMost(0.5), 2.1));
        assert!(met(Target::RatioAtLeast(0.5), 2.0) && !met(Target::RatioAtLeast(0.5), 1.9));
        assert!(met(Target::AtMost(2.0), 2.0) && !met(Target::AtMost(2.0), 2.1));
        assert!(met(Target::AtLeast(2.0), 2.0) && !met(Target::AtLeast(2.0), 1.9));
    }

    #[test]
    fn a_quick_run_judges_nothing() {
        let mut area = area(Target::AtMost(1.0), &[4.0], &[5.0]);
        area.conclude(false);
        assert_eq!((area.rows[1].ratio, area.rows[1].met), (Some(1.25), None));
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_two() {
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), 3.0);
        assert!(median(&[]).is_nan());
    }
}
