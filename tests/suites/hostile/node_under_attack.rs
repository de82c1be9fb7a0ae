//! The node under attack: a `bowline up` whose outputs go to files, so that their length is what it has written.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use node::multiaddr::Protocol;
use node::{Multiaddr, PeerId};
use serde_json::Value;
use tests::harness::bowline::PATIENCE;
use tests::harness::{Deadline, Home};

/// How often a file is looked at for what must appear in it.
const POLL: Duration = Duration::from_millis(10);

/// How long the admin endpoint may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// A running node. Dropping it kills and reaps it.
pub(crate) struct NodeUnderAttack {
    child: Child,
    home: Home,
    pub(crate) ready: Value,
}

/// How the node is started.
#[derive(Default)]
pub(crate) struct Start {
    /// The contents of its settings file.
    pub(crate) settings: String,
    pub(crate) flags: Vec<String>,
    /// A name server that replaces those of this machine. Needs the right to make a mount namespace.
    pub(crate) name_server: Option<IpAddr>,
    /// How long the attack has run when the bystanders come.
    pub(crate) head_start: Duration,
}

impl NodeUnderAttack {
    pub(crate) fn start(start: &Start) -> Result<Self> {
        let home = Home::new()?;
        // Other users may look into the home: only what the node itself protects is protected.
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755))?;
        let settings = home.path().join("settings.toml");
        fs::write(&settings, &start.settings)?;
        let mut command = home.bowline_with_data(&["up", "--json"]);
        command.arg("--config").arg(&settings).args(&start.flags);
        for listen in ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"] {
            command.args(["--listen", listen]);
        }
        if let Some(server) = start.name_server {
            command = with_name_server(&home, server, &command)?;
        }
        command.stdin(Stdio::null());
        command.stdout(File::create(output(&home))?);
        command.stderr(File::create(errors(&home))?);
        let child = command.spawn().context("cannot start bowline")?;
        let mut node = Self {
            child,
            home,
            ready: Value::Null,
        };
        node.ready = node.first_line()?;
        Ok(node)
    }

    fn first_line(&mut self) -> Result<Value> {
        let deadline = Deadline::within(PATIENCE);
        loop {
            let text = self.output();
            if let Some((line, _)) = text.split_once('\n') {
                return Ok(serde_json::from_str(line)?);
            }
            let ended = self.child.try_wait()?.is_some();
            if ended || deadline.left().is_zero() {
                let errors = fs::read_to_string(errors(&self.home)).unwrap_or_default();
                bail!("bowline has no ready line: {errors}");
            }
            std::thread::sleep(POLL);
        }
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    pub(crate) fn peer_id(&self) -> Result<PeerId> {
        let id = self.ready["peer_id"].as_str().unwrap_or_default();
        Ok(id.parse()?)
    }

    /// Its address over TCP or QUIC, with its id.
    pub(crate) fn address(&self, transport: &str) -> Result<Multiaddr> {
        let addresses = self.ready["addresses"].as_array();
        let mut texts = addresses.into_iter().flatten().filter_map(Value::as_str);
        let found = texts.find(|text| text.contains(transport));
        let found = found.with_context(|| format!("no address with {transport}"))?;
        Ok(found.parse()?)
    }

    /// All that it has printed to standard output.
    pub(crate) fn output(&self) -> String {
        let bytes = fs::read(output(&self.home)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The length of its standard error.
    pub(crate) fn error_bytes(&self) -> u64 {
        fs::metadata(errors(&self.home)).map_or(0, |data| data.len())
    }

    /// Its resident memory now and at its highest since [`Self::forget_peak`], in bytes.
    pub(crate) fn memory(&self) -> Result<(u64, u64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|rest| rest.split_whitespace().next());
            let kib = number.and_then(|number| number.parse::<u64>().ok());
            kib.map(|kib| kib * 1024)
                .with_context(|| format!("no {name} in the status"))
        };
        Ok((field("VmRSS:")?, field("VmHWM:")?))
    }

    /// The highest memory counts from now on.
    pub(crate) fn forget_peak(&self) -> Result<()> {
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5")
            .context("cannot reset the peak of the memory")
    }

    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// A counter of its metrics.
    pub(crate) fn counter(&self, name: &str) -> Result<u64> {
        let answer = self.ask("GET /metrics HTTP/1.1")?;
        let mut lines = answer.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        let value = value.with_context(|| format!("no counter {name} in its metrics"))?;
        Ok(value as u64)
    }

    /// Asks the admin endpoint, which is a Unix socket or a TCP port. Gives the whole answer with its head.
    pub(crate) fn ask(&self, request: &str) -> Result<String> {
        let admin = self.ready["admin"].as_str().unwrap_or_default();
        let request = format!("{request}\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        if let Some(path) = admin.strip_prefix("unix:") {
            let stream = UnixStream::connect(path).context("cannot connect to the admin socket")?;
            stream.set_read_timeout(Some(ANSWER))?;
            return exchange(stream, &request);
        }
        let at: SocketAddr = admin.trim_start_matches("http://").parse()?;
        let stream = TcpStream::connect_timeout(&at, ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        exchange(stream, &request)
    }
}

impl Drop for NodeUnderAttack {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The socket of a multiaddr with an IP address.
pub(crate) fn socket(address: &Multiaddr) -> Result<SocketAddr> {
    let mut parts = address.iter();
    match (parts.next(), parts.next()) {
        (Some(Protocol::Ip4(ip)), Some(Protocol::Tcp(port) | Protocol::Udp(port))) => {
            Ok((ip, port).into())
        }
        _ => bail!("{address} has no socket"),
    }
}

/// The same command with another `/etc/resolv.conf`. Its process is still a child of this one.
pub(crate) fn with_name_server(home: &Home, server: IpAddr, command: &Command) -> Result<Command> {
    let file = home.path().join("resolv.conf");
    fs::write(&file, format!("nameserver {server}\n"))?;
    let unshare = std::env::var_os("TOOL_UNSHARE");
    let mut wrapped = Command::new(unshare.context("TOOL_UNSHARE is not set")?);
    let script = r#"mount --bind "$0" /etc/resolv.conf && exec "$@""#;
    wrapped.args(["--mount", "sh", "-c", script]).arg(file);
    wrapped.arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(key, value),
            None => wrapped.env_remove(key),
        };
    }
    wrapped.current_dir(home.path());
    Ok(wrapped)
}

fn output(home: &Home) -> PathBuf {
    home.path().join("output")
}

fn errors(home: &Home) -> PathBuf {
    home.path().join("errors")
}

fn exchange(mut stream: impl Read + Write, request: &str) -> Result<String> {
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    ensure!(!answer.is_empty(), "the admin endpoint did not answer");
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
