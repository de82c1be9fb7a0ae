//! A peer whose datagrams the test sends itself: some of them, or in another order.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use bytes::BytesMut;
use quinn_proto::{
    Connection, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig, StreamId,
    TransportConfig, congestion::NewRenoConfig,
};
use tokio::net::UdpSocket;

use super::foreign::Face;

pub struct Raw {
    socket: UdpSocket,
    victim: SocketAddr,
    endpoint: Endpoint,
    handle: ConnectionHandle,
    pub connection: Connection,
    /// Stands still, so that no timer fires and nothing that was withheld is sent again.
    now: Instant,
}

impl Raw {
    /// A connection whose handshake is still to come.
    pub async fn new(face: &Face, victim: SocketAddr) -> Self {
        let mut congestion = NewRenoConfig::default();
        congestion.initial_window(1 << 40);
        let mut transport = TransportConfig::default();
        transport
            .congestion_controller_factory(Arc::new(congestion))
            .max_idle_timeout(None)
            .mtu_discovery_config(None)
            .enable_segmentation_offload(false);
        let mut client = face.client();
        client.transport_config(Arc::new(transport));
        let now = Instant::now();
        let config = Arc::new(EndpointConfig::default());
        let mut endpoint = Endpoint::new(config, None, false, None);
        let (handle, connection) = endpoint.connect(now, client, victim, "raw").unwrap();
        Self {
            socket: UdpSocket::bind(super::localhost()).await.unwrap(),
            victim,
            endpoint,
            handle,
            connection,
            now,
        }
    }

    /// What it wants to send.
    pub fn datagrams(&mut self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut datagram = Vec::new();
        while let Some(transmit) = self.connection.poll_transmit(self.now, 1, &mut datagram) {
            all.push(datagram[..transmit.size].to_vec());
            datagram.clear();
        }
        all
    }

    pub async fn send(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.victim).await.unwrap();
    }

    /// Hears what has arrived. Returns whether anything had.
    pub fn hear(&mut self) -> bool {
        let mut buffer = [0; 2048];
        let mut heard = false;
        while let Ok((length, _)) = self.socket.try_recv_from(&mut buffer) {
            heard = true;
            let data = BytesMut::from(&buffer[..length]);
            let mut answer = Vec::new();
            let event = self
                .endpoint
                .handle(self.now, self.victim, None, None, data, &mut answer);
            if let Some(DatagramEvent::ConnectionEvent(_, event)) = event {
                self.connection.handle_event(event);
            }
            while let Some(event) = self.connection.poll_endpoint_events() {
                if let Some(event) = self.endpoint.handle_event(self.handle, event) {
                    self.connection.handle_event(event);
                }
            }
            while self.connection.poll().is_some() {}
        }
        heard
    }

    /// Throws away what has arrived: an acknowledgement would tell that datagrams are missing.
    pub fn ignore(&self) {
        let mut buffer = [0; 2048];
        while self.socket.try_recv_from(&mut buffer).is_ok() {}
    }

    /// Sends and hears until both ends have nothing more to say.
    pub async fn talk(&mut self) {
        for _ in 0..3 {
            for datagram in self.datagrams() {
                self.send(&datagram).await;
            }
            super::pause().await;
            self.hear();
        }
    }

    pub fn open(&mut self) -> Option<StreamId> {
        self.connection.streams().open(Dir::Bi)
    }

    pub fn write(&mut self, stream: StreamId, data: &[u8]) -> usize {
        let written = self.connection.send_stream(stream).write(data);
        written.unwrap_or(0)
    }
}
