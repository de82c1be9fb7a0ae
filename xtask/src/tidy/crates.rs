//! Rules about crates: the allowed dependencies, one trait per leaf, the same description everywhere.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Finding, Source, sources};

/// The only crate that composes others.
const COMPOSER: &str = "node";

/// A package of the workspace.
#[derive(Debug)]
struct Package {
    name: String,
    description: String,
    /// The folder, from the workspace's.
    folder: String,
    /// The packages of the workspace it depends on in any way.
    depends_on: Vec<String>,
}

impl Package {
    fn is_leaf(&self) -> bool {
        self.folder.starts_with("crates/") && self.name != COMPOSER
    }
}

pub(super) fn check(metadata: &Value, root: &Path, tree: &[Source]) -> Result<Vec<Finding>> {
    let packages = packages(metadata, root)?;
    let mut findings = star(&packages);
    let readme = tree.iter().find(|source| source.path == "README.md");
    for package in &packages {
        if package.folder.starts_with("crates/") {
            findings.extend(description(
                package,
                readme.map(|source| source.text.as_str()),
            ));
        }
        if package.is_leaf() {
            let own = format!("{}/src/", package.folder);
            let own: Vec<&Source> = tree
                .iter()
                .filter(|source| source.path.starts_with(&own))
                .collect();
            findings.extend(one_trait(package, &own));
        }
    }
    Ok(findings)
}

/// The leaves' names as code writes them.
pub(super) fn leaf_names(metadata: &Value, root: &Path) -> Result<Vec<String>> {
    let packages = packages(metadata, root)?;
    let leaves = packages.iter().filter(|package| package.is_leaf());
    Ok(leaves
        .map(|package| package.name.replace('-', "_"))
        .collect())
}

/// A leaf depends on no crate of the workspace, the node on leaves only, the tests on the node and leaves, xtask on none.
fn star(packages: &[Package]) -> Vec<Finding> {
    let is_leaf = |name: &str| {
        packages
            .iter()
            .any(|package| package.name == name && package.is_leaf())
    };
    let mut findings = Vec::new();
    for package in packages {
        for other in &package.depends_on {
            let allowed = match package.name.as_str() {
                COMPOSER => is_leaf(other),
                "tests" => is_leaf(other) || other == COMPOSER,
                _ => false,
            };
            if !allowed {
                let message = format!(
                    "{} must not depend on {other}: only {COMPOSER} combines crates",
                    package.name
                );
                findings.push(Finding::broken(
                    format!("{}/Cargo.toml", package.folder),
                    message,
                ));
            }
        }
    }
    findings
}

fn one_trait(package: &Package, own: &[&Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lib = format!("{}/src/lib.rs", package.folder);
    let mut traits = 0;
    for source in own.iter().filter(|source| !sources::is_test(&source.path)) {
        for line in sources::public_traits(&source.text) {
            traits += 1;
            if source.path != lib {
                findings.push(Finding::at(
                    source,
                    line,
                    "a leaf has its public trait in its lib.rs",
                ));
            }
        }
    }
    let is_empty = own
        .iter()
        .all(|source| sources::code_lines(&source.text).next().is_none());
    if traits > 1 || traits == 0 && !is_empty {
        findings.push(Finding::broken(
            lib,
            format!(
                "{} has {traits} public traits; a leaf has exactly one",
                package.name
            ),
        ));
    }
    findings
}

/// The manifest's description is the crate's line in the README's table.
fn description(package: &Package, readme: Option<&str>) -> Option<Finding> {
    let rows = readme
        .unwrap_or_default()
        .lines()
        .filter(|line| line.starts_with('|'));
    let told = |row: &str| row.contains(&package.name) && row.contains(&package.description);
    let missing = package.description.is_empty() || !rows.into_iter().any(told);
    let message = format!(
        "no row of a table has the crate {} with the description of its manifest: {}",
        package.name, package.description
    );
    missing.then(|| Finding::broken("README.md", message))
}

fn packages(metadata: &Value, root: &Path) -> Result<Vec<Package>> {
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata lists no packages")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let names: Vec<String> = packages
        .iter()
        .map(|package| text(&package["name"]))
        .collect();
    let parse = |package: &Value| {
        let manifest = text(&package["manifest_path"]);
        let folder = Path::new(&manifest)
            .parent()?
            .strip_prefix(root)
            .ok()?
            .to_str()?
            .to_owned();
        let dependencies = package["dependencies"].as_array()?.iter();
        let depends_on = dependencies
            .map(|one| text(&one["name"]))
            .filter(|name| names.contains(name))
            .collect();
        Some(Package {
            name: text(&package["name"]),
            description: text(&package["description"]),
            folder,
            depends_on,
        })
    };
    packages
        .iter()
        .map(parse)
        .collect::<Option<_>>()
        .context("cargo metadata lacks a package's name, folder or dependencies")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, folder: &str, depends_on: &[&str]) -> Package {
        let depends_on = depends_on.iter().map(|name| (*name).to_owned()).collect();
        Package {
            name: name.to_owned(),
            description: "Does a thing".to_owned(),
            folder: folder.to_owned(),
            depends_on,
        }
    }

    fn source(path: &str, text: &str) -> Source {
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn the_star_is_allowed() {
        let packages = [
            package("a", "crates/a", &[]),
            package("node", "crates/node", &["a"]),
            package("tests", "tests", &["a", "node"]),
            package("xtask", "xtask", &[]),
        ];
        assert_eq!(star(&packages), []);
    }

    #[test]
    fn every_other_dependency_is_found() {
        let packages = [
            package("a", "crates/a", &["b"]),
            package("b", "crates/b", &["node"]),
            package("node", "crates/node", &["tests"]),
            package("tests", "tests", &["xtask"]),
            package("xtask", "xtask", &["a"]),
        ];
        assert_eq!(star(&packages).len(), 5);
    }

    #[test]
    fn a_leaf_has_one_public_trait_in_its_lib_unless_it_is_empty() {
        let leaf = package("a", "crates/a", &[]);
        let found = |lib: &str, other: &str| {
            let (lib, other) = (
                source("crates/a/src/lib.rs", lib),
                source("crates/a/src/other.rs", other),
            );
            one_trait(&leaf, &[&lib, &other]).len()
        };
        assert_eq!(found("//! Nothing yet.\n", ""), 0);
        assert_eq!(found("pub trait A {}\n", "struct B;\n"), 0);
        assert_eq!(found("", "struct B;\n"), 1, "none");
        assert_eq!(found("pub trait A {}\npub trait B {}\n", ""), 1, "two");
        assert_eq!(found("", "pub trait A {}\n"), 1, "elsewhere");
    }

    #[test]
    fn the_description_must_stand_in_a_row_with_the_name() {
        let leaf = package("a-crate", "crates/a", &[]);
        assert_eq!(
            description(&leaf, Some("| `a-crate` | Does a thing |\n")),
            None
        );
        assert!(description(&leaf, Some("| `a-crate` | Does another thing |\n")).is_some());
        assert!(description(&leaf, Some("`a-crate`: Does a thing\n")).is_some());
        assert!(description(&leaf, None).is_some());
    }
}
