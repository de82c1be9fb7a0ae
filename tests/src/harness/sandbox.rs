//! Processes in namespaces of their own: what is mounted, set up and left running in there ends with them, however the
//! suite ends, and the machine has seen none of it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::process::{Deadline, Finished, Process, run};
use anyhow::{Result, ensure};

/// How long namespaces may take to be made.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who runs what needs no rights: `nobody`, by its number.
pub const NOBODY: u32 = 65534;

/// What the first process of the sandbox does: it mounts the pairs of files it is given, says so, and starts the command
/// with its output in the log. It kills the command when its standard input closes, which is when the suite is gone. When
/// it ends itself, the kernel ends everything else in there.
const INIT: &str = r#"
set -e
log=$1
shift
while [ "$1" != -- ]; do
    mount --bind "$1" "$2"
    shift 2
done
shift
exec 3<&0
"$@" </dev/null >"$log" 2>&1 3<&- &
command=$!
{ cat <&3 >/dev/null; kill -KILL $command; } 2>/dev/null &
exec 3<&-
echo '{"event":"started"}'
wait $command
"#;

/// What a sandbox is made of.
#[derive(Debug, Default)]
pub struct Plan {
    mounts: Vec<(PathBuf, &'static str)>,
    own_network: bool,
    unprivileged: bool,
}

/// A command in a sandbox. Dropping it ends everything in there.
#[derive(Debug)]
pub struct Sandbox {
    process: Process,
    log: PathBuf,
}

impl Plan {
    /// Shows `source` in there at `place`, which must exist.
    #[must_use]
    pub fn with_mount(mut self, source: PathBuf, place: &'static str) -> Self {
        self.mounts.push((source, place));
        self
    }

    /// A network of its own, with nothing in it but a loopback interface that is down.
    #[must_use]
    pub fn with_own_network(mut self) -> Self {
        self.own_network = true;
        self
    }

    /// Takes all rights from the command.
    #[must_use]
    pub fn unprivileged(mut self) -> Self {
        self.unprivileged = true;
        self
    }

    /// Starts `command` in there, both its outputs in the file `log`.
    ///
    /// # Errors
    /// If the namespaces cannot be made.
    pub fn start(&self, command: &[&str], log: &Path) -> Result<Sandbox> {
        let name = command.first().copied().unwrap_or("nothing");
        let mut process = Process::spawn(name, &mut self.command(command, log))?;
        let started = process.next(Deadline::within(PATIENCE));
        ensure!(
            started.is_ok_and(|event| event.kind() == "started"),
            "no sandbox for {name}\n{}",
            process.stderr_tail()
        );
        Ok(Sandbox {
            process,
            log: log.to_owned(),
        })
    }

    fn command(&self, command: &[&str], log: &Path) -> Command {
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--pid", "--fork", "--kill-child"]);
        if self.own_network {
            unshare.arg("--net");
        }
        unshare.args(["sh", "-c", INIT, "sandbox"]).arg(log);
        for (source, place) in &self.mounts {
            unshare.arg(source).arg(place);
        }
        unshare.arg("--");
        if self.unprivileged {
            unshare.arg("setpriv");
            unshare.arg(format!("--reuid={NOBODY}"));
            unshare.arg(format!("--regid={NOBODY}"));
            unshare.args(["--clear-groups", "--no-new-privs"]);
        }
        unshare.args(command);
        unshare
    }
}

impl Sandbox {
    /// The same command, run inside, with the sandbox's network and files and our own rights.
    #[must_use]
    pub fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.arg(format!("--target={}", self.process.id()));
        inside.args(["--net", "--mount", "--"]);
        inside.arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(key, value),
                None => inside.env_remove(key),
            };
        }
        inside
    }

    /// What names the sandbox's network to `ip`.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Whether the command has ended.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn has_ended(&mut self) -> Result<bool> {
        self.process.has_ended()
    }

    /// All that the command has printed.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Runs a script of the shell inside, to its end.
    ///
    /// # Errors
    /// If one of its commands fails.
    pub fn shell(&self, script: &str) -> Result<()> {
        let mut sh = Command::new("sh");
        sh.args(["-ec", script]);
        succeed(&mut self.inside(&sh)).map(drop)
    }

    /// Kills everything in there and waits until it is gone.
    ///
    /// # Errors
    /// If it does not end.
    pub fn stop(mut self) -> Result<()> {
        self.process.close_stdin();
        self.process.finish(Deadline::within(PATIENCE)).map(drop)
    }
}

/// Runs a tool to its end.
///
/// # Errors
/// If it fails or takes too long.
pub fn succeed(command: &mut Command) -> Result<Finished> {
    let finished = run("a tool", command, Deadline::within(PATIENCE))?;
    ensure!(
        finished.code == Some(0),
        "{command:?} ended with {:?}: {}",
        finished.code,
        finished.stderr.join("\n")
    );
    Ok(finished)
}
