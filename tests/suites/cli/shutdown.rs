//! SIGTERM and SIGINT: exit code 0, and the peers know at once.

use std::time::Duration;

use tests::harness::process::Signal;
use tests::harness::{Deadline, Home};

use super::{QUIC, TCP, assert_done, soon};

/// Far below any idle timeout or keep-alive, so that only a clean close can be what the peer sees.
const AT_ONCE: Duration = Duration::from_secs(2);

#[test]
fn a_signal_closes_the_connections_cleanly() {
    for signal in [Signal::TERM, Signal::INT] {
        for listen in [TCP, QUIC] {
            let (survivor, leaver) = (Home::new().unwrap(), Home::new().unwrap());
            let mut survivor = survivor.up(&["--listen", listen]).unwrap();
            let leaver = leaver
                .up(&["--listen", listen, "--bootstrap", &survivor.addresses()[0]])
                .unwrap();
            let id = leaver.peer_id().to_owned();
            let of_leaver = |kind: &'static str| {
                let id = id.clone();
                move |event: &tests::harness::Event| {
                    event.kind() == kind && event.text("peer_id") == id
                }
            };
            survivor
                .process
                .wait_for("identified", soon(), of_leaver("identified"))
                .unwrap();

            leaver.process.signal(signal).unwrap();
            let gone = Deadline::within(AT_ONCE);
            survivor
                .process
                .wait_for("disconnected", gone, of_leaver("disconnected"))
                .unwrap();
            assert_done(&leaver.process.finish(gone).unwrap());
        }
    }
}

/// Each handshake is caught at another moment: what the node still has to send then must not keep the close back.
const SHORT_LIVES: usize = 15;

#[test]
fn a_node_that_is_stopped_right_after_a_handshake_still_tells_its_peer() {
    for listen in [TCP, QUIC] {
        let home = Home::new().unwrap();
        let mut survivor = home.up(&["--listen", listen]).unwrap();
        for _ in 0..SHORT_LIVES {
            let leaver = Home::new().unwrap();
            let args = ["--listen", listen, "--bootstrap", &survivor.addresses()[0]];
            let leaver = leaver.up(&args).unwrap();
            let connected = survivor.process.wait_for("connected", soon(), |event| {
                event.kind() == "connected" && event.text("peer_id") == leaver.peer_id()
            });
            connected.unwrap();
            leaver.process.signal(Signal::TERM).unwrap();
            let gone = Deadline::within(AT_ONCE);
            survivor
                .process
                .wait_for("disconnected", gone, |event| event.kind() == "disconnected")
                .unwrap();
            assert_done(&leaver.process.finish(gone).unwrap());
        }
    }
}

#[test]
fn a_signal_right_after_the_ready_line_ends_the_node() {
    let home = Home::new().unwrap();
    for signal in [Signal::TERM, Signal::INT] {
        let up = home.up(&["--listen", TCP, "--listen", QUIC]).unwrap();
        up.process.signal(signal).unwrap();
        assert_done(&up.process.finish(Deadline::within(AT_ONCE)).unwrap());
    }
}
