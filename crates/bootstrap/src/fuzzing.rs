//! Entry points of the fuzz targets: the decoders of this crate that read bytes from strangers. An input on which one
//! of them panics is a finding.

/// A packet on the LAN.
#[cfg(feature = "mdns")]
pub fn mdns_packet(data: &[u8]) {
    use crate::sources::packet::{MAX_PEERS, MAX_STRINGS, Packet, decode};
    if let Some(Packet::Answer(peers)) = decode(data) {
        assert!(!peers.is_empty() && peers.len() <= MAX_PEERS);
        assert!(peers.iter().all(|peer| peer.addresses.len() <= MAX_STRINGS));
    }
}

/// A record of the file of saved peers. The first byte is the number of the following bytes that form the key.
#[cfg(feature = "store")]
pub fn saved_record(data: &[u8]) {
    use crate::SavedPeer;
    let Some((length, rest)) = data.split_first() else {
        return;
    };
    let Some((key, value)) = rest.split_at_checked((*length).into()) else {
        return;
    };
    if let Ok(saved) = SavedPeer::decode(key, value, 1000) {
        assert!(saved.last_seen <= 1000 && !saved.addresses.is_empty());
        let again = SavedPeer::decode(&saved.peer.to_bytes(), &saved.encode(), 1000);
        assert_eq!(
            again,
            Ok(saved),
            "a record that was read is written as it was"
        );
    }
}

/// The TXT records of `/dnsaddr` names, one per line. An empty line ends an answer.
#[cfg(feature = "dnsaddr")]
pub fn dnsaddr_records(data: &[u8]) {
    use crate::sources::expansion::{Expansion, MAX_ADDRESSES, MAX_NAMES};
    let mut expansion = Expansion::default();
    expansion.begin("example.org", None);
    let mut answers = data
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect::<Vec<_>>();
    let mut asked = 0;
    while let Some(query) = expansion.poll_query() {
        asked += 1;
        let end = answers
            .iter()
            .position(Vec::is_empty)
            .map_or(answers.len(), |end| end + 1);
        expansion.handle_answer(&query, &answers[..end]);
        answers.rotate_left(end);
    }
    assert!(asked <= MAX_NAMES && expansion.found().len() <= MAX_ADDRESSES);
}

/// The address of a peer, as users write it.
#[cfg(feature = "libp2p")]
pub fn peer_address(data: &[u8]) {
    use crate::{Origin, sources::parse_peer};
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(candidate) = parse_peer(text, Origin::List)
    {
        assert!(!candidate.addresses[0].is_empty());
    }
}

/// A message of Kademlia, as request and as answer.
#[cfg(all(feature = "kad", feature = "libp2p"))]
pub fn kad_message(data: &[u8]) {
    use crate::kad::{
        MAX_ADDRESSES, MAX_KEY, MAX_VALUE, Request, Response,
        wire::{Frames, MAX_ANSWER, MAX_MESSAGE, MAX_PEERS},
    };
    let mut frames = Frames::new(MAX_ANSWER);
    let mut rest = data;
    while let Ok(Some(body)) = frames.next(&mut rest) {
        assert!(body.len() <= MAX_ANSWER);
    }
    if let Ok(request) = Request::decode(data)
        && let Ok(bytes) = request.encode()
    {
        let body = Frames::new(MAX_ANSWER).next(&mut &bytes[..]);
        let body = body.ok().flatten().unwrap_or_default();
        assert_eq!(
            Request::decode(&body).as_ref(),
            Ok(&request),
            "a request that was read is written as it was"
        );
    }
    let Ok(response) = Response::decode(data) else {
        return;
    };
    let (record, peers) = match &response {
        Response::FindNode { closer } => (None, vec![closer]),
        Response::GetValue { record, closer } => (record.as_ref(), vec![closer]),
        Response::GetProviders { providers, closer } => (None, vec![providers, closer]),
        Response::PutValue { record } => (Some(record), vec![]),
        Response::Empty => (None, vec![]),
    };
    assert!(
        record.is_none_or(|record| record.key.len() <= MAX_KEY && record.value.len() <= MAX_VALUE)
    );
    assert!(peers.iter().all(|peers| peers.len() <= MAX_PEERS));
    let mut addresses = peers.iter().flat_map(|peers| peers.iter());
    assert!(addresses.all(|peer| peer.addresses.len() <= MAX_ADDRESSES));
    let answer = response.encode(&Request::FindNode { key: vec![1] });
    assert!(answer.is_ok_and(|bytes| bytes.len() <= MAX_MESSAGE + 3));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_upset_a_decoder(data in prop::collection::vec(any::<u8>(), 0..400)) {
            #[cfg(feature = "mdns")]
            super::mdns_packet(&data);
            #[cfg(feature = "store")]
            super::saved_record(&data);
            #[cfg(feature = "dnsaddr")]
            super::dnsaddr_records(&data);
            #[cfg(feature = "libp2p")]
            super::peer_address(&data);
            let _ = data;
        }
    }
}
