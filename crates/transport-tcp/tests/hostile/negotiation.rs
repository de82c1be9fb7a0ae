//! multistream-select: peers that talk and talk, or say nothing.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use transport_tcp::{NegotiateError, Security, Step, UpgradeConfig, UpgradeError};

use crate::support::{MULTISTREAM, Node, PATIENCE, line, pipe};

fn step(error: &UpgradeError) -> Option<Step> {
    match error {
        UpgradeError::Negotiation { stage, .. } | UpgradeError::TimedOut { stage, .. } => {
            Some(*stage)
        }
        _ => None,
    }
}

/// What a listener makes of a dialer that says all this and reads every answer.
async fn answer_to(said: Vec<u8>) -> UpgradeError {
    let victim = Node::over(Security::Tls);
    let (near, far) = pipe();
    let (mut read, mut write) = tokio::io::split(near);
    let attack = async {
        // The victim may hang up at any time.
        let _ = write.write_all(&said).await;
        let _ = read.read_to_end(&mut Vec::new()).await;
        write
    };
    let attacked = timeout(PATIENCE, async {
        tokio::join!(victim.inbound(far), attack)
    });
    attacked.await.expect("it ends").0.unwrap_err()
}

#[tokio::test]
async fn endless_protocol_names_end_the_negotiation() {
    let mut said = line(MULTISTREAM);
    for n in 0..100_000 {
        said.extend(line(&format!("/no/such/protocol/{n}")));
    }
    let error = answer_to(said).await;
    assert!(
        matches!(
            error,
            UpgradeError::Negotiation {
                stage: Step::Negotiate,
                source: NegotiateError::TooLong { limit: 1024 },
            }
        ),
        "{error}",
    );
}

#[tokio::test]
async fn a_request_for_the_list_again_and_again_ends_the_negotiation() {
    let said = [line(MULTISTREAM), line("ls").repeat(100_000)].concat();
    let error = answer_to(said).await;
    let too_long = |e: &UpgradeError| crate::support::chain(e).contains("after 1024 bytes");
    assert!(too_long(&error), "{error}");
}

#[tokio::test]
async fn an_over_long_name_ends_the_negotiation() {
    // 16 KiB is more than two length bytes can say; 16383 is the longest the codec takes.
    for length in [1 << 14, (1 << 14) - 3] {
        let name = format!("/{}", "x".repeat(length));
        let error = answer_to([line(MULTISTREAM), line(&name)].concat()).await;
        assert_eq!(step(&error), Some(Step::Negotiate), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_multistream_ends_the_negotiation() {
    for said in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 64], &[0; 64]] {
        let error = answer_to(said.to_vec()).await;
        assert_eq!(step(&error), Some(Step::Negotiate), "{error}");
    }
}

#[tokio::test]
async fn a_listener_that_repeats_its_header_does_not_hold_the_dialer() {
    // With one protocol to offer nothing is negotiated; with two there is.
    let victim = Node::new(UpgradeConfig::default());
    let (mut near, far) = pipe();
    let attack = async {
        let _ = near.write_all(&line(MULTISTREAM).repeat(100_000)).await;
        near
    };
    let attacked = timeout(PATIENCE, async {
        tokio::join!(victim.outbound(far, None), attack)
    });
    let error = attacked.await.expect("it ends").0.unwrap_err();
    assert!(
        crate::support::chain(&error).contains("after 1024 bytes"),
        "{error}"
    );
}

#[tokio::test]
async fn without_a_protocol_in_common_both_ends_say_so() {
    let (dialer, listener) = (Node::over(Security::Tls), Node::over(Security::Noise));
    let (near, far) = pipe();
    let (dialed, accepted) = tokio::join!(dialer.outbound(near, None), listener.inbound(far));
    for error in [dialed.unwrap_err(), accepted.unwrap_err()] {
        assert_eq!(
            crate::support::chain(&error),
            "negotiating security failed: no protocol in common"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_stalled_negotiation_ends_at_its_deadline() {
    let victim = Node::over(Security::Tls);
    for said in [vec![], line(MULTISTREAM), vec![19, b'/']] {
        let (mut near, far) = pipe();
        near.write_all(&said).await.unwrap();
        let begun = tokio::time::Instant::now();
        let error = victim.inbound(far).await.unwrap_err();
        assert!(
            matches!(
                error,
                UpgradeError::TimedOut {
                    stage: Step::Negotiate,
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(begun.elapsed().as_secs(), 5);
    }
}
