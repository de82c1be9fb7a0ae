//! Another user of the machine at the admin endpoint.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;
use tests::harness::bowline::binary;
use tests::harness::peers::Stack;
use tests::harness::process::{Deadline, run};

use super::LIMITED;
use crate::node_under_attack::Start;
use crate::siege::{Aim, Counts, besiege};
use crate::{Outcome, Setting};

/// The user `nobody`, by its number.
const NOBODY: u32 = 65_534;

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// A place that the other user can read, with a copy of the binary.
struct Other {
    folder: TempDir,
    program: PathBuf,
}

impl Other {
    /// `None`: this user may not run programs as another user.
    fn new() -> Result<Option<Self>> {
        let folder = TempDir::with_prefix("bowline-other-")?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let program = folder.path().join("bowline");
        fs::copy(binary(), &program)?;
        let other = Self { folder, program };
        let may = other.command(&["--version"]).stdout(Stdio::null()).status();
        Ok(may.is_ok_and(|status| status.success()).then_some(other))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .env("HOME", self.folder.path())
            .current_dir(self.folder.path());
        command.uid(NOBODY).gid(NOBODY);
        command
    }
}

/// Asks for the peers and changes a relay's terms, again and again, as another user.
pub(crate) fn by_another_user(setting: &Setting) -> Result<Outcome> {
    let Some(other) = Other::new()? else {
        return Ok(Outcome::Skipped(
            "because this user may not run programs as another user",
        ));
    };
    let start = Start {
        settings: format!("{LIMITED}[relay]\nserver = true\n"),
        ..Start::default()
    };
    let attack = move |aim: Aim| async move {
        tokio::task::spawn_blocking(move || ask(&aim, &other)).await?
    };
    let mut siege = besiege(setting, &start, Stack::TcpTls, attack)?;
    let answer = siege.node.ask("GET /slots HTTP/1.1")?;
    let body = answer.split_once("\r\n\r\n").context("no body")?.1;
    let body = &body[body.find('{').context("no JSON")?..=body.rfind('}').context("no JSON")?];
    let slots: Value = serde_json::from_str(body)?;
    if slots["terms"]["slots"] != 128 {
        let broken = format!(
            "another user set the term slots to {}",
            slots["terms"]["slots"]
        );
        siege.figures.own.push(broken);
    }
    let taken = Counts::get(&siege.counts.taken);
    if taken > 0 {
        let broken = format!("another user received {taken} answers");
        siege.figures.own.push(broken);
    }
    Ok(Outcome::Ran(Box::new(siege.figures)))
}

/// Asks as another user until the end of the flood. An answer is one too many.
fn ask(aim: &Aim, other: &Other) -> Result<()> {
    let data_dir = aim.data_dir.to_string_lossy();
    let endpoint = match aim.admin.strip_prefix("http://") {
        Some(address) => ["--admin", address],
        None => ["--data-dir", &*data_dir],
    };
    let questions: [&[&str]; 2] = [&["peers"], &["slots", "--set", "slots=1"]];
    while !aim.is_over() {
        for question in questions {
            let mut command = other.command(question);
            let finished = run(
                "bowline",
                command.args(endpoint),
                Deadline::within(PATIENCE),
            )?;
            Counts::add(&aim.counts.tries, 1);
            Counts::add(&aim.counts.taken, usize::from(finished.code == Some(0)));
            // The smallest request.
            Counts::add(&aim.counts.sent, "GET / HTTP/1.1\r\n\r\n".len());
        }
    }
    Ok(())
}
