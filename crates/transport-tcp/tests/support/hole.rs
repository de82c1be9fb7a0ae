//! An address that swallows connections.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

/// A port that is open on 127.0.0.1 and that swallows connections on 127.0.0.2: its queue is full, so the
/// kernel answers no more of them.
pub struct Port {
    open: Socket,
    _swallowing: Socket,
    _queue: Vec<Socket>,
}

impl Port {
    pub fn new() -> Self {
        let (open, swallowing) = same_port();
        open.listen(1024).unwrap();
        swallowing.listen(0).unwrap();
        let hole = SocketAddr::from(([127, 0, 0, 2], address(&open).port()));
        let mut queue = Vec::new();
        for _ in 0..3 {
            let filler = socket();
            filler.set_nonblocking(true).unwrap();
            let _ = filler.connect(&hole.into());
            queue.push(filler);
        }
        Self {
            open,
            _swallowing: swallowing,
            _queue: queue,
        }
    }

    pub fn number(&self) -> u16 {
        address(&self.open).port()
    }
}

fn socket() -> Socket {
    Socket::new(Domain::IPV4, Type::STREAM, None).unwrap()
}

/// Sockets with one port on 127.0.0.1 and 127.0.0.2. The system chooses a port that is free on the first address. Another
/// program may use it on the second one, and then another port is tried.
fn same_port() -> (Socket, Socket) {
    let pair = || {
        let (first, second) = (socket(), socket());
        let bind = |socket: &Socket, ip, port| socket.bind(&SocketAddr::from((ip, port)).into());
        bind(&first, [127, 0, 0, 1], 0).unwrap();
        let port = address(&first).port();
        bind(&second, [127, 0, 0, 2], port).map(|()| (first, second))
    };
    let mut pairs = (0..100).filter_map(|_| pair().ok());
    pairs.next().expect("a port is free on both addresses")
}

fn address(socket: &Socket) -> SocketAddr {
    socket.local_addr().unwrap().as_socket().unwrap()
}
