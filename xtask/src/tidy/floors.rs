//! Rule: a file of `node` imports only from lower floors. The table of floors is a code block in docs/ARCHITECTURE.md:
//!
//! ```text
//! floor  file                      holds
//!  3     parts/*                   one part per file or folder
//!        admin.rs                  this file is on floor 3, too
//!  2     node.rs   context.rs      two files that must not import each other
//!  1     dial.rs (+plan)           `dial.rs`, and `plan.rs` or `dial/plan.rs`: one module on one floor
//!        transport/{tcp,quic}.rs   `transport/tcp.rs` and `transport/quic.rs`
//!  0     protocols/                the whole folder as one module
//! ```
//!
//! A file's children are on its floor and belong to its module, unless the table names them. Files of one module may import each
//! other. The crate's root has no floor.

use std::collections::BTreeSet;

use super::imports::{self, Crate, Import, Module};
use super::{Finding, Source, document};

/// The heading of the section that has the table.
const HEADING: &str = "Floors of node";

/// The folder that the table is about.
const FOLDER: &str = "crates/node/src/";

/// What the table says about one file or folder.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    line: usize,
    floor: u32,
    /// Entries with the same number are one module.
    group: usize,
    /// The places it may mean, as module paths.
    places: Vec<Module>,
    /// Whether each file or folder below the place is a module of its own.
    each_child: bool,
    /// How the table writes it.
    name: String,
}

/// A file's place in the table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    floor: u32,
    group: usize,
    /// The file or folder of a place with `*`.
    child: Option<String>,
}

/// `leaves` are the names of the other crates as code writes them: a program uses them through the node only.
pub(super) fn check(tree: &[Source], leaves: &[String]) -> Vec<Finding> {
    if !tree.iter().any(|source| source.path.starts_with(FOLDER)) {
        return Vec::new();
    }
    let document = document::of(tree);
    let lines = document.and_then(|document| document::section(&document.text, HEADING));
    let table = document::block(&lines.unwrap_or_default());
    if table.is_empty() {
        let message = format!("the section {HEADING} with the table of floors is missing");
        return vec![Finding::broken(document::PATH, message)];
    }
    let (entries, mut findings) = entries(&table);
    let mut used = BTreeSet::new();
    for one in imports::crates(FOLDER, tree) {
        findings.extend(check_crate(&one, &entries, &mut used));
        if one.folder != FOLDER {
            findings.extend(leaves_in_program(&one, leaves));
        }
    }
    let unused = (0..).zip(&entries).filter(|(at, _)| !used.contains(at));
    findings.extend(unused.map(|(_, entry)| {
        let message = format!(
            "{} is in the table of floors but not in {FOLDER}",
            entry.name
        );
        Finding::broken(format!("{}:{}", document::PATH, entry.line), message)
    }));
    findings
}

fn check_crate(one: &Crate<'_>, entries: &[Entry], used: &mut BTreeSet<usize>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let prefix = one.folder[FOLDER.len()..]
        .split('/')
        .filter(|name| !name.is_empty());
    let prefix: Module = prefix.map(str::to_owned).collect();
    let mut place = |module: &Module| {
        let (at, place) = place(&[prefix.as_slice(), module].concat(), entries)?;
        used.insert(at);
        Some(place)
    };
    for (module, source) in &one.modules {
        if place(module).is_none() {
            let message = format!(
                "this file is not in the table of floors in {}",
                document::PATH
            );
            findings.push(Finding::broken(&source.path, message));
        }
    }
    for import in one.imports() {
        if let (Some(from), Some(to)) = (place(&import.from), place(&import.to))
            && to.floor >= from.floor
            && (to.group, &to.child) != (from.group, &from.child)
        {
            findings.push(upward(one, &import, from.floor, to.floor));
        }
    }
    findings
}

fn upward(one: &Crate<'_>, import: &Import, from: u32, to: u32) -> Finding {
    let message = format!(
        "imports {} on floor {to}, but this file is on floor {from} and imports from lower floors only",
        one.file(&import.to)
    );
    Finding::broken(
        format!("{}{}:{}", one.folder, one.file(&import.from), import.line),
        message,
    )
}

/// A program's imports of a crate that it has only through the node.
fn leaves_in_program(one: &Crate<'_>, leaves: &[String]) -> Vec<Finding> {
    let found = one.modules.values().flat_map(|source| {
        let paths = imports::paths(&source.text).into_iter();
        paths
            .filter(|path| path.is_import() && leaves.contains(&path.segments[0]))
            .map(|path| {
                let message = format!(
                    "a program imports {} through `node::` only",
                    path.segments[0]
                );
                Finding::at(source, path.line, message)
            })
    });
    found.collect()
}

/// The entry that says most about a module, and the place it gives.
fn place(module: &[String], entries: &[Entry]) -> Option<(usize, Place)> {
    let length = |entry: &Entry| {
        let places = entry.places.iter();
        places
            .filter(|place| module.starts_with(place))
            .map(Vec::len)
            .max()
    };
    let candidates = entries.iter().enumerate();
    let (length, at, entry) = candidates
        .filter_map(|(at, entry)| Some((length(entry)?, at, entry)))
        .max_by_key(|(length, ..)| *length)?;
    let child = entry.each_child.then(|| module.get(length).cloned());
    let place = Place {
        floor: entry.floor,
        group: entry.group,
        child: child.flatten(),
    };
    Some((at, place))
}

/// Reads the table.
fn entries(table: &[document::Line<'_>]) -> (Vec<Entry>, Vec<Finding>) {
    let (mut entries, mut findings) = (Vec::new(), Vec::new());
    let mut floor = None;
    for (line, text) in table {
        let mut broken = |message: &str| {
            findings.push(Finding::broken(
                format!("{}:{line}", document::PATH),
                message,
            ));
        };
        let words = text.trim_start();
        let number = words.split(' ').next().unwrap_or_default();
        let mut files = words;
        if let Ok(number) = number.parse::<u32>() {
            files = words[number.to_string().len()..].trim_start();
            floor = Some(number);
        }
        // The heading, an empty line, or the rest of a description.
        if !files.split(' ').next().is_some_and(is_file) {
            continue;
        }
        let Some(floor) = floor else {
            broken("the table of floors starts with a file that has no floor");
            continue;
        };
        while let Some(file) = files.split(' ').next().filter(|file| is_file(file)) {
            files = files[file.len()..].trim_start();
            let group = entries.len();
            entries.extend(file_entries(*line, floor, file, group));
            let others = files.strip_prefix("(+");
            if let Some((others, rest)) = others.and_then(|others| others.split_once(')')) {
                files = rest.trim_start();
                let others = others.split(',').map(str::trim);
                entries.extend(others.map(|other| companion(*line, floor, file, other, group)));
            }
        }
    }
    (entries, findings)
}

fn is_file(word: &str) -> bool {
    word.ends_with(".rs") || word.ends_with('/') || word.ends_with("/*")
}

/// What a name in the table stands for, which is more than one file if it has braces.
fn file_entries(line: usize, floor: u32, file: &str, first_group: usize) -> Vec<Entry> {
    let names = match file.split_once('{').and_then(|(before, rest)| {
        let (inside, after) = rest.split_once('}')?;
        Some((before, inside, after))
    }) {
        Some((before, inside, after)) => inside
            .split(',')
            .map(|name| format!("{before}{}{after}", name.trim()))
            .collect(),
        None => vec![file.to_owned()],
    };
    let entry = |(at, name): (usize, String)| Entry {
        line,
        floor,
        group: first_group + at,
        places: vec![place_of(&name)],
        each_child: name.ends_with("/*"),
        name,
    };
    names.into_iter().enumerate().map(entry).collect()
}

/// `other` in `file (+other)`: next to the file, or its child.
fn companion(line: usize, floor: u32, file: &str, other: &str, group: usize) -> Entry {
    let child = [place_of(file), vec![other.to_owned()]].concat();
    let mut sibling = child.clone();
    sibling.remove(child.len() - 2);
    Entry {
        line,
        floor,
        group,
        places: vec![child, sibling],
        each_child: false,
        name: format!("{other} of {file}"),
    }
}

fn place_of(name: &str) -> Module {
    let name = name.trim_end_matches('*').trim_end_matches('/');
    let name = name.strip_suffix(".rs").unwrap_or(name);
    name.split('/').map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
