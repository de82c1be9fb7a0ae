//! Which files of a crate import which others: `use crate::…`, `use super::…` and paths such as `crate::a::b` in the code.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, lexer, sources};

/// A module's path from the crate's root.
pub(super) type Module = Vec<String>;

/// A library or a program: the files that `crate::` can lead to.
pub(super) struct Crate<'a> {
    /// The folder of its root, with a slash at the end.
    pub(super) folder: String,
    /// The files of its modules without the root and without tests.
    pub(super) modules: BTreeMap<Module, &'a Source>,
    /// What `use` in the root names, by the name that it gets there.
    root_names: BTreeMap<String, Module>,
}

/// One file's mention of another one. A module, its ancestors and its descendants do not count as different files: a module
/// and its children are one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Import {
    pub(super) from: Module,
    pub(super) line: usize,
    pub(super) to: Module,
}

/// A path as it is written, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) line: usize,
    pub(super) segments: Vec<String>,
    /// The modules within the file that it is in, such as `mod a { … }`.
    inside: Vec<String>,
    /// The name that an import gives to it, unless it is a path in the code.
    alias: Option<String>,
}

impl Path {
    /// Whether it is an import, and not a path in the code.
    pub(super) fn is_import(&self) -> bool {
        self.alias.is_some()
    }

    /// The path from the crate's root, if it is written in this module's file and starts with `crate`, `self` or `super`.
    fn target(&self, module: &[String]) -> Option<Module> {
        let is_own = matches!(self.segments[0].as_str(), "crate" | "self" | "super");
        is_own.then(|| from_root(&self.segments, &[module, &self.inside].concat()))
    }
}

/// The library below this folder, `crates/x/src/` for instance, and each of its programs.
pub(super) fn crates<'a>(folder: &str, tree: &'a [Source]) -> Vec<Crate<'a>> {
    let programs_folder = format!("{folder}bin/");
    let programs: BTreeSet<String> = tree
        .iter()
        .filter_map(|source| source.path.strip_prefix(&programs_folder))
        .filter_map(|path| path.strip_suffix("/main.rs"))
        .map(|name| format!("{programs_folder}{name}/"))
        .collect();
    let library = files(folder, tree).filter(|source| !source.path.starts_with(&programs_folder));
    let mut crates = vec![Crate::new(folder, library)];
    crates.extend(
        programs
            .iter()
            .map(|folder| Crate::new(folder, files(folder, tree))),
    );
    crates
}

fn files<'a>(folder: &str, tree: &'a [Source]) -> impl Iterator<Item = &'a Source> {
    let in_folder = move |source: &&Source| {
        source.path.starts_with(folder)
            && source.path.ends_with(".rs")
            && !sources::is_test(&source.path)
    };
    tree.iter().filter(in_folder)
}

impl<'a> Crate<'a> {
    fn new(folder: &str, files: impl Iterator<Item = &'a Source>) -> Self {
        let mut modules: BTreeMap<Module, &Source> = files
            .map(|source| (module(&source.path[folder.len()..]), source))
            .collect();
        let for_tests = modules.iter().flat_map(|(module, source)| {
            let (_, names) = lexer::without_tests(&lexer::code(&source.text));
            names
                .into_iter()
                .map(|name| [module.as_slice(), &[name]].concat())
        });
        for module in for_tests.collect::<Vec<_>>() {
            modules.retain(|other, _| !other.starts_with(&module));
        }
        let root = modules.remove(&Module::new());
        let root_names = root.map_or_else(BTreeMap::new, |root| {
            let imports = paths(&root.text)
                .into_iter()
                .filter_map(|path| Some((path.alias?, from_root(&path.segments, &[]))));
            imports.collect()
        });
        Self {
            folder: folder.to_owned(),
            modules,
            root_names,
        }
    }

    /// The path of a module's file from the crate's folder, `a/b.rs` for instance.
    pub(super) fn file(&self, module: &Module) -> &str {
        self.modules
            .get(module)
            .map_or("", |source| &source.path[self.folder.len()..])
    }

    /// Each import of another file, once for each line.
    pub(super) fn imports(&self) -> BTreeSet<Import> {
        let mut imports = BTreeSet::new();
        for (from, source) in &self.modules {
            for path in paths(&source.text) {
                let target = path.target(from);
                let Some(to) = target.and_then(|target| self.resolve(target)) else {
                    continue;
                };
                if !to.starts_with(from) && !from.starts_with(&to) {
                    let (from, line) = (from.clone(), path.line);
                    imports.insert(Import { from, line, to });
                }
            }
        }
        imports
    }

    /// Imports of everything that the root names, which hide what they import: the file and the line.
    pub(super) fn root_globs(&self) -> Vec<(&'a Source, usize)> {
        let globs = self.modules.iter().flat_map(|(module, source)| {
            let paths = paths(&source.text).into_iter();
            let of_root =
                paths.filter(|path| path.target(module).is_some_and(|target| target == ["*"]));
            of_root.map(|path| (*source, path.line))
        });
        globs.collect()
    }

    /// The module that a path from the root leads into.
    fn resolve(&self, mut path: Module) -> Option<Module> {
        let mut seen = BTreeSet::new();
        while let Some(name) = path.first()
            && !self.modules.contains_key(&path[..1])
            && let Some(target) = self.root_names.get(name)
            && seen.insert(name.clone())
        {
            path.splice(..1, target.iter().cloned());
        }
        let lengths = (1..=path.len()).rev();
        lengths
            .map(|length| &path[..length])
            .find(|prefix| self.modules.contains_key(*prefix))
            .map(<[String]>::to_vec)
    }
}

/// The module that a file is, from the file's path below the crate's folder.
fn module(path: &str) -> Module {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let mut module: Module = path.split('/').map(str::to_owned).collect();
    if matches!(
        module.last().map(String::as_str),
        Some("mod" | "lib" | "main")
    ) {
        module.pop();
    }
    module
}

/// Makes a path start at the root. One without `crate`, `self` or `super` is seen from the root already.
fn from_root(segments: &[String], module: &[String]) -> Module {
    let mut base = match segments.first().map(String::as_str) {
        Some("self" | "super") => module.to_vec(),
        _ => Module::new(),
    };
    for segment in segments {
        match segment.as_str() {
            "crate" | "self" => {}
            "super" => drop(base.pop()),
            name => base.push(name.to_owned()),
        }
    }
    base
}

/// All paths that a file imports, and those in its code that start with `crate`, `self` or `super`. Tests are left out.
pub(super) fn paths(source: &str) -> Vec<Path> {
    let (code, _) = lexer::without_tests(&lexer::code(source));
    let tokens = tokens(&code);
    let mut reader = Reader {
        tokens: &tokens,
        at: 0,
        depth: 0,
        inside: Vec::new(),
        paths: Vec::new(),
    };
    reader.run();
    reader.paths
}

/// A word, `::`, or another character, with its line.
type Token<'a> = (usize, &'a str);

fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    for (line, text) in (1..).zip(code.lines()) {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let is_word = |char: char| char.is_alphanumeric() || char == '_';
            let length = if is_word(first) {
                rest.find(|char| !is_word(char)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            tokens.push((line, &rest[..length]));
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

struct Reader<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    /// How many braces are open.
    depth: usize,
    /// The modules that are open, each with the number of braces inside it.
    inside: Vec<(usize, String)>,
    paths: Vec<Path>,
}

impl<'a> Reader<'a> {
    fn run(&mut self) {
        while let Some(token) = self.peek() {
            let before = self.at.checked_sub(1).map(|before| self.tokens[before].1);
            match token {
                // `use<'a>` is a bound and imports nothing.
                "use"
                    if self
                        .tokens
                        .get(self.at + 1)
                        .is_some_and(|next| next.1 != "<") =>
                {
                    self.at += 1;
                    self.tree(&[]);
                }
                "crate" | "self" | "super" if !matches!(before, Some("::" | "$")) => self.path(),
                _ => self.brace(token),
            }
        }
    }

    /// Passes a token, and follows which modules it opens or closes.
    fn brace(&mut self, token: &str) {
        self.at += 1;
        match token {
            "mod"
                if self
                    .tokens
                    .get(self.at + 1)
                    .is_some_and(|next| next.1 == "{") =>
            {
                let name = self.tokens[self.at].1.to_owned();
                self.inside.push((self.depth + 1, name));
            }
            "{" => self.depth += 1,
            "}" => {
                self.inside.pop_if(|(depth, _)| *depth == self.depth);
                self.depth = self.depth.saturating_sub(1);
            }
            _ => {}
        }
    }

    fn push(&mut self, line: usize, segments: Vec<String>, alias: Option<String>) {
        self.paths.push(Path {
            line,
            segments,
            inside: self.inside.iter().map(|(_, name)| name.clone()).collect(),
            alias,
        });
    }

    fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.at).map(|token| token.1)
    }

    fn next(&mut self) -> Option<Token<'a>> {
        let token = self.tokens.get(self.at).copied();
        self.at += 1;
        token
    }

    /// Reads a path in the code. A single word is none.
    fn path(&mut self) {
        let line = self.tokens[self.at].0;
        let mut segments = Vec::new();
        while let Some((_, token)) = self.next() {
            segments.push(token.to_owned());
            let next_is_word = self.tokens.get(self.at + 1).is_some_and(|next| {
                next.1
                    .starts_with(|char: char| char.is_alphabetic() || char == '_')
            });
            if self.peek() != Some("::") || !next_is_word {
                break;
            }
            self.at += 1;
        }
        if segments.len() > 1 {
            self.push(line, segments, None);
        }
    }

    /// Reads what an import names below `prefix`: `a::b`, `a::{b, c as d}`, `*`.
    fn tree(&mut self, prefix: &[String]) {
        let mut segments = prefix.to_vec();
        while let Some((line, token)) = self.next() {
            match token {
                "::" => {}
                "{" => {
                    while !matches!(self.peek(), None | Some("}")) {
                        self.tree(&segments);
                        self.at += usize::from(self.peek() == Some(","));
                    }
                    self.at += 1;
                    return;
                }
                // A raw identifier is the word behind its mark.
                "r" if self.peek() == Some("#") => self.at += 1,
                _ => {
                    // `a::{self}` names `a`.
                    if token != "self" || segments.is_empty() {
                        segments.push(token.to_owned());
                    }
                    if self.peek() == Some("::") {
                        continue;
                    }
                    let mut alias = segments.last().cloned();
                    if self.peek() == Some("as") {
                        self.at += 1;
                        alias = self.next().map(|token| token.1.to_owned());
                    }
                    self.push(line, segments, alias);
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
