//! What is dialed: a target, a proxy, and a long way to the proxy.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tests::harness::process::{Deadline, Process};

/// How long a server may take until it accepts.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often the proxy's port is tried meanwhile.
const POLL: Duration = Duration::from_millis(5);

/// How often another port is taken when the proxy does not start: somebody may have been faster on the first.
const ATTEMPTS: usize = 3;

/// All three, running. Dropping it kills them.
pub(crate) struct Servers {
    /// Accepts and closes.
    pub(crate) target: SocketAddr,
    /// microsocks.
    pub(crate) proxy: SocketAddr,
    /// The same microsocks, 10 ms away in each direction.
    pub(crate) far: SocketAddr,
    program: OsString,
    _microsocks: Microsocks,
    _processes: [Process; 2],
}

struct Microsocks {
    address: SocketAddr,
    child: Child,
}

impl Servers {
    pub(crate) fn start() -> Result<Self> {
        let program =
            std::env::var_os("BENCH_DIAL").context("BENCH_DIAL does not name a program")?;
        let microsocks = Microsocks::start()?;
        let (target, accepting) = serve(Command::new(&program).arg("target"))?;
        let proxy = microsocks.address;
        let mut forward = Command::new(&program);
        forward.args(["forward", &proxy.to_string(), "--delay-ms", "10"]);
        let (far, forwarding) = serve(&mut forward)?;
        Ok(Self {
            target,
            proxy,
            far,
            program,
            _microsocks: microsocks,
            _processes: [accepting, forwarding],
        })
    }

    /// The command for a job of the program that dials.
    pub(crate) fn command(&self, job: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(job);
        command
    }
}

/// Starts a job of our own program that serves, and gives where it does.
fn serve(command: &mut Command) -> Result<(SocketAddr, Process)> {
    let mut process = Process::spawn("server", command)?;
    let deadline = Deadline::within(PATIENCE);
    let ready = process.wait_for("ready", deadline, |event| event.kind() == "ready");
    let ready = ready.with_context(|| process.stderr_tail())?;
    Ok((ready.text("address").parse()?, process))
}

impl Microsocks {
    fn start() -> Result<Self> {
        let program = std::env::var_os("PROXY_MICROSOCKS");
        let program = program.context("PROXY_MICROSOCKS does not name a program")?;
        let mut failure = None;
        for _ in 0..ATTEMPTS {
            match Self::start_at(&program, free_port()?) {
                Ok(started) => return Ok(started),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.context("microsocks was not started")?)
    }

    fn start_at(program: &OsString, address: SocketAddr) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["-i", &address.ip().to_string()]);
        command.args(["-p", &address.port().to_string()]);
        // It logs each connection. Nobody is to spend time on reading that.
        let command = command.stdin(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("cannot start microsocks")?;
        let mut started = Self { address, child };
        let deadline = Deadline::within(PATIENCE);
        while TcpStream::connect(address).is_err() {
            if let Some(status) = started.child.try_wait()? {
                bail!("microsocks at {address} ended: {status}");
            }
            if deadline.left().is_zero() {
                bail!("microsocks does not accept at {address}");
            }
            thread::sleep(POLL);
        }
        Ok(started)
    }
}

impl Drop for Microsocks {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
fn free_port() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?)
}
