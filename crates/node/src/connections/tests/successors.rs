//! The successors of drained connections.

use conn_state::LimitsConfig;
use libp2p_identity::Keypair;

use super::{connections, registered};

#[tokio::test]
async fn successors_lead_to_the_last_one_that_is_open_and_a_circle_of_them_ends() {
    let connections = connections(LimitsConfig::for_memory(0));
    let key = Keypair::generate_ed25519();
    let (_first, one, _far) = registered(&connections, &key).await.unwrap();
    let (_second, two, _far_too) = registered(&connections, &key).await.unwrap();
    let (_third, three, _far_as_well) = registered(&connections, &key).await.unwrap();
    let open = || (one.streams(), two.streams(), three.streams());
    one.drain(Some(two.clone()));
    two.drain(Some(three.clone()));
    let last = one.open_optimistic("/a/1").await.unwrap();
    assert_eq!(open(), (0, 0, 1));
    drop(last);

    three.abort();
    three.closed().await;
    let before_it = one.open_optimistic("/a/1").await.unwrap();
    assert_eq!((one.streams(), two.streams()), (0, 1));
    drop(before_it);

    two.drain(Some(one.clone()));
    let somewhere = one.open_optimistic("/a/1").await.unwrap();
    assert_eq!(one.streams() + two.streams(), 1);
    drop(somewhere);
    two.resume();
}

#[tokio::test]
async fn a_stream_whose_connection_is_replaced_while_it_opens_is_opened_on_the_successor() {
    let connections = connections(LimitsConfig::for_memory(0));
    let key = Keypair::generate_ed25519();
    let (_first, one, far) = registered(&connections, &key).await.unwrap();
    let (_second, two, far_too) = registered(&connections, &key).await.unwrap();
    let answering = async {
        let stream = far_too.accept().await.unwrap();
        let known = ["/a/1".to_owned()];
        multistream_select::listener_select_proto(stream, known)
            .await
            .unwrap()
    };
    let replacing = async {
        // The stream has arrived at the other end, which does not answer.
        let stream = far.accept().await.unwrap();
        one.drain(Some(two.clone()));
        one.abort();
        stream
    };
    let (opened, _answered, _never) = tokio::join!(one.open(&["/a/1"]), answering, replacing);
    let (protocol, _stream) = opened.unwrap();
    assert_eq!((&*protocol, two.streams()), ("/a/1", 1));
}
