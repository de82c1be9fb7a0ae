//! Proxies and targets of our own, on loopback or in memory, and what they were asked.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use futures::future::BoxFuture;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional, duplex},
    net::TcpListener,
    time::Instant,
};
use transport_tcp::{
    Attempt, ByteStream, DialContext, DialError, Dialer, Family, Host, ProxyError, Target,
};

use super::PATIENCE;

/// What is done with each connection.
pub type Service = Arc<dyn Fn(ByteStream) -> BoxFuture<'static, ()> + Send + Sync>;

pub fn service<F, R>(serve: F) -> Service
where
    F: Fn(ByteStream) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    Arc::new(move |io| Box::pin(serve(io)))
}

/// Says everything back.
pub fn echo() -> Service {
    service(|io| async {
        let (mut read, mut write) = tokio::io::split(io);
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.shutdown().await;
    })
}

/// Reads everything and says nothing.
pub fn silent() -> Service {
    service(|mut io| async move {
        let _ = tokio::io::copy(&mut io, &mut tokio::io::sink()).await;
    })
}

/// Accepts on loopback.
pub async fn listen(service: Service) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            tokio::spawn(service(socket.into()));
        }
    });
    address
}

/// A network in memory: hosts by their authority, so that a paused clock stays where it is. Who is not there refuses.
#[derive(Clone, Default)]
pub struct Network {
    hosts: Arc<Mutex<BTreeMap<String, Service>>>,
    dialed: Arc<Mutex<Vec<String>>>,
}

impl Network {
    pub fn add(&self, authority: &str, service: Service) -> &Self {
        let hosts = &mut self.hosts.lock().unwrap();
        hosts.insert(authority.to_owned(), service);
        self
    }

    pub fn remove(&self, authority: &str) {
        self.hosts.lock().unwrap().remove(authority);
    }

    /// Who was dialed, in order.
    pub fn dialed(&self) -> Vec<String> {
        self.dialed.lock().unwrap().clone()
    }
}

#[async_trait::async_trait]
impl Dialer for Network {
    async fn dial(&self, target: &Target, _: &DialContext) -> Result<ByteStream, DialError> {
        let authority = target.authority();
        let service = self.hosts.lock().unwrap().get(&authority).cloned();
        self.dialed.lock().unwrap().push(authority);
        match service {
            None => Err(refused(target)),
            Some(service) => {
                let (near, far) = duplex(64 * 1024);
                tokio::spawn(service(ByteStream::boxed(far)));
                Ok(ByteStream::boxed(near))
            }
        }
    }
}

/// What `Direct` says of a port on which nobody listens.
pub fn refused(target: &Target) -> DialError {
    DialError::Failed {
        address: target.to_multiaddr(),
        tried: vec![Attempt {
            address: (Ipv4Addr::UNSPECIFIED, target.port()).into(),
            error: io::ErrorKind::ConnectionRefused.into(),
        }],
    }
}

/// What a proxy saw, one line for each thing.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub fn note(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub fn count(&self, begin: &str) -> usize {
        let lines = self.0.lock().unwrap();
        lines.iter().filter(|line| line.starts_with(begin)).count()
    }
}

/// A SOCKS5 proxy.
#[derive(Clone)]
pub struct Socks {
    pub password: Option<(&'static str, &'static str)>,
    /// What it answers to every request, if it is not 0.
    pub reply: u8,
    /// How it reaches whom it is asked for.
    pub onward: Arc<dyn Dialer>,
    pub log: Log,
}

impl Socks {
    pub fn onward(onward: impl Dialer + 'static) -> Self {
        Self {
            password: None,
            reply: 0,
            onward: Arc::new(onward),
            log: Log::default(),
        }
    }

    pub fn service(&self) -> Service {
        let this = self.clone();
        service(move |io| {
            let this = this.clone();
            async move {
                this.log.note("connected");
                let _ = this.serve(io).await;
                this.log.note("ended");
            }
        })
    }

    async fn serve(&self, mut io: ByteStream) -> io::Result<()> {
        if !self.greet(&mut io).await? {
            return io.shutdown().await;
        }
        let target = self.asked(&mut io).await?;
        let far = match self.reply {
            0 => self.onward.dial(&target, &context()).await.ok(),
            _ => None,
        };
        let reply = match (&far, self.reply) {
            (None, 0) => 5,
            (_, reply) => reply,
        };
        let answer = [5, reply, 0, 1, 127, 0, 0, 1, 0, 80];
        io.write_all(&answer).await?;
        match far {
            None => io.shutdown().await,
            Some(mut far) => copy_bidirectional(&mut io, &mut far).await.map(drop),
        }
    }

    async fn greet(&self, io: &mut ByteStream) -> io::Result<bool> {
        assert_eq!(io.read_u8().await?, 5);
        let mut methods = vec![0; io.read_u8().await?.into()];
        io.read_exact(&mut methods).await?;
        self.log.note(format!("methods {methods:?}"));
        let method = if self.password.is_some() { 2 } else { 0 };
        if !methods.contains(&method) {
            io.write_all(&[5, 0xff]).await?;
            return Ok(false);
        }
        io.write_all(&[5, method]).await?;
        let Some((user, password)) = self.password else {
            return Ok(true);
        };
        assert_eq!(io.read_u8().await?, 1);
        let said = (string(io).await?, string(io).await?);
        let right = said.0 == user && said.1 == password;
        self.log.note(format!("password {}:{}", said.0, said.1));
        io.write_all(&[1, u8::from(!right)]).await?;
        Ok(right)
    }

    async fn asked(&self, io: &mut ByteStream) -> io::Result<Target> {
        let mut head = [0; 4];
        io.read_exact(&mut head).await?;
        assert_eq!(head[..3], [5, 1, 0], "version, connect, reserved");
        let (kind, host) = match head[3] {
            1 => {
                let mut ip = [0; 4];
                io.read_exact(&mut ip).await?;
                ("ip4", Host::Ip(Ipv4Addr::from(ip).into()))
            }
            4 => {
                let mut ip = [0; 16];
                io.read_exact(&mut ip).await?;
                ("ip6", Host::Ip(Ipv6Addr::from(ip).into()))
            }
            3 => ("name", name(string(io).await?)),
            other => panic!("no type of address: {other}"),
        };
        let target = Target::new(host, io.read_u16().await?, None);
        self.log.note(format!("{kind} {}", target.authority()));
        Ok(target)
    }
}

async fn string(io: &mut ByteStream) -> io::Result<String> {
    let mut bytes = vec![0; io.read_u8().await?.into()];
    io.read_exact(&mut bytes).await?;
    Ok(String::from_utf8(bytes).unwrap())
}

pub fn name(name: impl Into<String>) -> Host {
    Host::Dns {
        name: name.into(),
        family: Family::Any,
    }
}

/// An HTTP proxy that knows CONNECT only.
#[derive(Clone)]
pub struct Http {
    /// What must stand behind `Basic`.
    pub basic: Option<&'static str>,
    /// What it answers to every request, if not `200`.
    pub status: u16,
    pub onward: Arc<dyn Dialer>,
    pub log: Log,
}

impl Http {
    pub fn onward(onward: impl Dialer + 'static) -> Self {
        Self {
            basic: None,
            status: 200,
            onward: Arc::new(onward),
            log: Log::default(),
        }
    }

    pub fn service(&self) -> Service {
        let this = self.clone();
        service(move |io| {
            let this = this.clone();
            async move {
                this.log.note("connected");
                let _ = this.serve(io).await;
                this.log.note("ended");
            }
        })
    }

    async fn serve(&self, mut io: ByteStream) -> io::Result<()> {
        let head = head(&mut io).await?;
        self.log.note(&head);
        let authorized = self.basic.is_none_or(|basic| {
            head.contains(&format!("\r\nProxy-Authorization: Basic {basic}\r\n"))
        });
        let mut words = head.split(' ');
        assert_eq!(words.next(), Some("CONNECT"));
        let target = target(words.next().unwrap());
        let far = match self.status {
            200 if authorized => self.onward.dial(&target, &context()).await.ok(),
            _ => None,
        };
        let status = match self.status {
            _ if !authorized => 407,
            200 if far.is_none() => 502,
            status => status,
        };
        let answer = format!("HTTP/1.1 {status} Whatever\r\nX-Proxy: ours\r\n\r\n");
        io.write_all(answer.as_bytes()).await?;
        io.flush().await?;
        match far {
            None => io.shutdown().await,
            Some(mut far) => copy_bidirectional(&mut io, &mut far).await.map(drop),
        }
    }
}

/// Reads a header to its end and not a byte further.
pub async fn head(io: &mut ByteStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await?);
    }
    Ok(String::from_utf8(head).unwrap())
}

fn target(authority: &str) -> Target {
    let (host, port) = authority.rsplit_once(':').unwrap();
    let host = host.trim_matches(['[', ']']);
    let host = match host.parse() {
        Ok(ip) => Host::Ip(ip),
        Err(_) => name(host),
    };
    Target::new(host, port.parse().unwrap(), None)
}

pub fn context() -> DialContext {
    DialContext::new(Instant::now() + PATIENCE)
}

pub fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

pub async fn dial(dialer: &dyn Dialer, address: &str) -> Result<ByteStream, DialError> {
    let target: Target = address.parse().unwrap();
    dialer.dial(&target, &context()).await
}

/// There is an echo at the other end.
pub async fn ahoy(stream: &mut ByteStream) {
    stream.write_all(b"ahoy").await.unwrap();
    let mut heard = [0; 4];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"ahoy");
}

/// Waits for what the other tasks bring about, without letting a paused clock go on.
pub async fn until(what: &str, met: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !met() {
        assert!(begun.elapsed() < PATIENCE, "in vain: {what}");
        tokio::task::yield_now().await;
    }
}

/// What the proxy did.
pub fn cause(error: &DialError) -> &ProxyError {
    match error {
        DialError::Proxy { source, .. } => source,
        other => panic!("not a proxy's failure: {other}"),
    }
}
