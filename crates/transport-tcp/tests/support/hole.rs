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
        let socket = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let (open, swallowing) = (socket(), socket());
        open.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        open.listen(1024).unwrap();
        let port = address(&open).port();
        let hole = SocketAddr::from(([127, 0, 0, 2], port));
        swallowing.bind(&hole.into()).unwrap();
        swallowing.listen(0).unwrap();
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

fn address(socket: &Socket) -> SocketAddr {
    socket.local_addr().unwrap().as_socket().unwrap()
}
