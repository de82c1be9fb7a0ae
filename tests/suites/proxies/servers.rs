//! The real proxy servers, each in a sandbox, on a free port of the loopback interface.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use tests::harness::process::Deadline;

use crate::configs;
use tests::harness::sandbox::{NOBODY, Plan, Sandbox};

/// The user the servers know, and the only passwords they accept from it. What tinyproxy takes as a password is a word;
/// the others get one that does not survive a rule or a URL unless it is encoded there.
pub(crate) const USER: &str = "mallory";
pub(crate) const WORD: &str = "s3same.0pen";
const PHRASE: &str = "s3same @:/%? 0pen";

/// A password that no server accepts.
pub(crate) const WRONG: &str = "s3same-shut";

/// Names that only the servers know. Were they resolved anywhere else, the dial would fail.
pub(crate) const FOUR: &str = "four.bowline.test";
pub(crate) const SIX: &str = "six.bowline.test";
const HOSTS: &str = "127.0.0.1 localhost four.bowline.test\n::1 localhost six.bowline.test\n";

/// Nobody answers questions about names on loopback, so that one that is not in the hosts file fails at once.
pub(crate) const NO_RESOLVER: &str = "nameserver 127.0.0.1\n";

/// How long a server may take until its port accepts.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often the port is tried meanwhile.
const POLL: Duration = Duration::from_millis(5);

/// How often another port is taken when a server does not start: somebody may have been faster on the first.
const ATTEMPTS: usize = 3;

/// Where a server finds its files.
pub(crate) const PLACE: &str = "/mnt";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Microsocks,
    Dante,
    Tinyproxy,
    Squid,
}

/// A server that accepts connections. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    sandbox: Sandbox,
    folder: Folder,
}

/// A folder that `nobody` can read, and write in `var`.
#[derive(Debug)]
pub(crate) struct Folder(TempDir);

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Microsocks, Self::Dante, Self::Tinyproxy, Self::Squid];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Microsocks => "microsocks",
            Self::Dante => "dante",
            Self::Tinyproxy => "tinyproxy",
            Self::Squid => "squid",
        }
    }

    /// The scheme of its URL in a rule.
    pub(crate) fn scheme(self) -> &'static str {
        match self {
            Self::Microsocks | Self::Dante => "socks5",
            Self::Tinyproxy | Self::Squid => "http",
        }
    }

    /// The password that it accepts, as it is and as a URL has it.
    pub(crate) fn password(self) -> &'static str {
        match self {
            Self::Tinyproxy => WORD,
            Self::Microsocks | Self::Dante | Self::Squid => PHRASE,
        }
    }

    /// The program, where `PROXY_NAME` says that it is.
    pub(crate) fn program(self) -> Option<PathBuf> {
        let variable = format!("PROXY_{}", self.name().to_uppercase());
        std::env::var_os(variable).map(PathBuf::from)
    }

    /// Starts one that wants `USER` and the password, or one that wants nothing.
    pub(crate) fn start(self, guarded: bool) -> Result<Server> {
        let mut failure = None;
        for _ in 0..ATTEMPTS {
            match self.start_at(guarded, free_port()?) {
                Ok(server) => return Ok(server),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.with_context(|| format!("{} was not started", self.name()))?)
    }

    /// The same, at a port of the caller's choice.
    pub(crate) fn start_at(self, guarded: bool, port: u16) -> Result<Server> {
        Server::start(self, guarded, port)
    }

    fn arguments(self, guarded: bool, port: u16) -> Vec<String> {
        let line = match (self, guarded) {
            (Self::Microsocks, false) => format!("-i 127.0.0.1 -p {port}"),
            (Self::Microsocks, true) => format!("-i 127.0.0.1 -p {port} -u {USER} -P"),
            (Self::Dante, _) => format!("-f {PLACE}/dante.conf"),
            (Self::Tinyproxy, _) => format!("-d -c {PLACE}/tinyproxy.conf"),
            (Self::Squid, _) => format!("-N -f {PLACE}/squid.conf"),
        };
        let mut arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
        if self == Self::Microsocks && guarded {
            arguments.push(PHRASE.to_owned());
        }
        arguments
    }

    fn plan(self, folder: &Folder) -> Plan {
        let plan = Plan::default()
            .with_mount(folder.file("hosts"), "/etc/hosts")
            .with_mount(folder.file("resolv.conf"), "/etc/resolv.conf")
            .with_mount(folder.path().to_owned(), PLACE);
        match self {
            // It reads the password file of the system it finds, and becomes `nobody` by itself.
            Self::Dante => plan
                .with_mount(folder.file("passwd"), "/etc/passwd")
                .with_mount(folder.file("shadow"), "/etc/shadow"),
            Self::Microsocks | Self::Tinyproxy | Self::Squid => plan.unprivileged(),
        }
    }

    /// What it logs, once, when it has connected somebody to `host` at `port`.
    fn witness(self, host: &str, port: u16) -> String {
        match self {
            Self::Microsocks => format!(": connected to {host}:{port}\n"),
            // It logs the address that a name has.
            Self::Dante => format!(" {}.{port}\n", resolved(host)),
            Self::Tinyproxy => format!("Established connection to host \"{host}\""),
            Self::Squid if host.contains(':') => format!("TCP_TUNNEL/200 [{host}]:{port}\n"),
            Self::Squid => format!("TCP_TUNNEL/200 {host}:{port}\n"),
        }
    }
}

impl Server {
    fn start(kind: Kind, guarded: bool, port: u16) -> Result<Self> {
        let program = kind.program().context("its program is not named")?;
        let program = program.to_str().context("its path is not text")?;
        let folder = Folder::new()?;
        folder.write("hosts", HOSTS)?;
        folder.write("resolv.conf", NO_RESOLVER)?;
        for (name, text) in configs::files(kind, guarded, port) {
            folder.write(name, &text)?;
        }
        let arguments = kind.arguments(guarded, port);
        let command: Vec<&str> = std::iter::once(program)
            .chain(arguments.iter().map(String::as_str))
            .collect();
        let sandbox = kind.plan(&folder).start(&command, &folder.file("log"))?;
        let mut server = Self {
            kind,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            sandbox,
            folder,
        };
        server.wait_until_it_accepts()?;
        Ok(server)
    }

    fn wait_until_it_accepts(&mut self) -> Result<()> {
        let deadline = Deadline::within(PATIENCE);
        while TcpStream::connect(self.address).is_err() {
            ensure!(
                !deadline.left().is_zero() && !self.sandbox.has_ended()?,
                "{} does not accept at {}\n{}",
                self.kind.name(),
                self.address,
                self.log()
            );
            thread::sleep(POLL);
        }
        // If the port was somebody else's, the server cannot have stayed.
        ensure!(!self.sandbox.has_ended()?, "{}", self.log());
        Ok(())
    }

    /// Its URL in a rule, without credentials.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.kind.scheme(), self.address)
    }

    /// Its URL in a rule, with credentials.
    pub(crate) fn url_with(&self, password: &str) -> String {
        let password = percent_encoded(password);
        format!(
            "{}://{USER}:{password}@{}",
            self.kind.scheme(),
            self.address
        )
    }

    /// How often it has connected somebody to `host` at `port`, by its own account.
    pub(crate) fn connections(&self, host: &str, port: u16) -> usize {
        self.log().matches(&self.kind.witness(host, port)).count()
    }

    /// Waits until it has connected somebody to `host` at `port` this often.
    pub(crate) fn wait_for_connections(&self, host: &str, port: u16, count: usize) -> Result<()> {
        let deadline = Deadline::within(PATIENCE);
        loop {
            let seen = self.connections(host, port);
            if seen == count {
                return Ok(());
            }
            if deadline.left().is_zero() || seen > count {
                bail!(
                    "{} connected somebody to {host} at {port} {seen} times, not {count}\n{}",
                    self.kind.name(),
                    self.log()
                );
            }
            thread::sleep(POLL);
        }
    }

    /// What it has to say, indented.
    pub(crate) fn log(&self) -> String {
        let access = fs::read_to_string(self.folder.file("var/access.log")).unwrap_or_default();
        format!("{}{access}", self.sandbox.log())
    }

    /// Kills it and waits until it is gone.
    pub(crate) fn stop(self) -> Result<()> {
        self.sandbox.stop()
    }
}

impl Folder {
    pub(crate) fn new() -> Result<Self> {
        let folder = TempDir::with_prefix("bowline-proxies-").context("no temporary folder")?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let var = folder.path().join("var");
        fs::create_dir(&var)?;
        chown(&var, Some(NOBODY), Some(NOBODY)).context("cannot give a folder away")?;
        Ok(Self(folder))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        let file = self.file(name);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
        Ok(())
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}

fn resolved(host: &str) -> &str {
    match host {
        FOUR => "127.0.0.1",
        SIX => "::1",
        address => address,
    }
}

pub(crate) fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(encode).collect()
}
