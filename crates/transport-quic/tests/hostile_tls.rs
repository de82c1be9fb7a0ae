//! Certificates that must not be believed, from a dialer and from a listener.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, SystemTime};

use common::{Node, PATIENCE, foreign::Face, id, within};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use transport_quic::{
    AcceptError, CertificateError, Config, Connection, DialError, Keypair, PeerId,
};

const OID: [u64; 9] = [1, 3, 6, 1, 4, 1, 53594, 1, 1];

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len();
    if length < 0x80 {
        out.push(length as u8);
    } else {
        out.extend_from_slice(&[0x82, (length >> 8) as u8, length as u8]);
    }
    out.extend_from_slice(content);
    out
}

/// SignedKey ::= SEQUENCE { publicKey OCTET STRING, signature OCTET STRING }
fn signed_key(public: &[u8], signature: &[u8]) -> Vec<u8> {
    der(0x30, &[der(4, public), der(4, signature)].concat())
}

/// Everything that makes up a certificate; `Recipe::good` with one thing changed is bad.
struct Recipe {
    identity: Keypair,
    key: KeyPair,
    params: CertificateParams,
    extension: Vec<u8>,
}

impl Recipe {
    fn good() -> Self {
        let identity = Keypair::generate_ed25519();
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut recipe = Self {
            extension: Vec::new(),
            params: CertificateParams::default(),
            identity,
            key,
        };
        recipe.extension = recipe.extension_signed_by(&recipe.identity, b"libp2p-tls-handshake:");
        recipe
    }

    fn extension_signed_by(&self, signer: &Keypair, prefix: &[u8]) -> Vec<u8> {
        let message = [prefix, &self.key.public_key_der()].concat();
        let signature = signer.sign(&message).unwrap();
        signed_key(&self.identity.public().encode_protobuf(), &signature)
    }

    fn custom(content: &[u8], oid: &[u64], critical: bool) -> CustomExtension {
        let mut extension = CustomExtension::from_oid_content(oid, content.to_vec());
        extension.set_criticality(critical);
        extension
    }

    /// With the extension this many times.
    fn bake(mut self, times: usize) -> Face {
        for _ in 0..times {
            let extension = Self::custom(&self.extension, &OID, true);
            self.params.custom_extensions.push(extension);
        }
        let certificate = self.params.self_signed(&self.key).unwrap();
        Face::libp2p(certificate.der().to_vec(), &self.key)
    }
}

/// An RSA public key of 16,384 bits, which takes long to verify with.
fn huge_rsa_key() -> Vec<u8> {
    let mut modulus = vec![0xc5; 2048];
    modulus.insert(0, 0);
    let numbers = [der(2, &modulus), der(2, &[1, 0, 1])].concat();
    let bits = [vec![0], der(0x30, &numbers)].concat();
    let rsa = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00".to_vec();
    let spki = der(0x30, &[rsa, der(3, &bits)].concat());
    let mut key = vec![0x08, 0x00, 0x12];
    key.extend([(spki.len() & 0x7f) as u8 | 0x80, (spki.len() >> 7) as u8]);
    key.extend(spki);
    key
}

type Named = (&'static str, Face);

fn bad_faces() -> Vec<Named> {
    [bad_extensions(), bad_times(), bad_bytes()].concat()
}

/// The good recipe with one thing changed.
fn recipe(change: impl Fn(&mut Recipe)) -> Face {
    let mut recipe = Recipe::good();
    change(&mut recipe);
    recipe.bake(1)
}

fn bad_extensions() -> Vec<Named> {
    let other = Keypair::generate_ed25519();
    let by_other = |r: &mut Recipe| {
        r.extension = r.extension_signed_by(&other, b"libp2p-tls-handshake:");
    };
    let for_noise = |r: &mut Recipe| {
        r.extension = r.extension_signed_by(&r.identity, b"noise-libp2p-static-key:");
    };
    let huge = |r: &mut Recipe| r.extension = signed_key(&huge_rsa_key(), &[0x55; 2048]);
    let unknown = |r: &mut Recipe| {
        let unknown = Recipe::custom(b"\x05\x00", &[1, 3, 6, 1, 4, 1, 53594, 1, 99], true);
        r.params.custom_extensions.push(unknown);
    };
    vec![
        ("no extension", Recipe::good().bake(0)),
        ("the extension twice", Recipe::good().bake(2)),
        ("the extension signed by another key", recipe(by_other)),
        (
            "the extension signed for another purpose",
            recipe(for_noise),
        ),
        (
            "another certificate's extension",
            recipe(|r| r.extension = Recipe::good().extension),
        ),
        (
            "an extension cut short",
            recipe(|r| r.extension.truncate(100)),
        ),
        ("an empty extension", recipe(|r| r.extension.clear())),
        ("an RSA identity of 16,384 bits", recipe(huge)),
        ("an unknown critical extension", recipe(unknown)),
    ]
}

fn bad_times() -> Vec<Named> {
    let date = |year| rcgen::date_time_ymd(year, 1, 1);
    vec![
        (
            "a certificate that has expired",
            recipe(|r| r.params.not_after = date(2001)),
        ),
        (
            "a certificate that is not valid yet",
            recipe(|r| r.params.not_before = date(3000)),
        ),
    ]
}

fn bad_bytes() -> Vec<Named> {
    let good = Recipe::good().bake(1);
    let shown = |chain: Vec<Vec<u8>>| Face {
        chain: chain.into_iter().map(Into::into).collect(),
        ..good.clone()
    };
    let bytes = good.chain[0].to_vec();
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    vec![
        ("a broken self-signature", shown(vec![flipped])),
        (
            "a byte after the certificate",
            shown(vec![[&bytes[..], &[0]].concat()]),
        ),
        ("two certificates", shown(vec![bytes.clone(), bytes])),
        ("an empty certificate", shown(vec![Vec::new()])),
    ]
}

/// What our listener says of a dialer with this face.
async fn as_dialer(face: &Face) -> Result<Connection, AcceptError> {
    dialing(face, &Node::new(Config::default())).await
}

async fn dialing(face: &Face, node: &Node) -> Result<Connection, AcceptError> {
    let (accepted, _foreign) = tokio::join!(
        async {
            let incoming = within(node.endpoint.accept()).await.unwrap();
            within(incoming.accept()).await
        },
        face.dial(node.address)
    );
    accepted
}

/// What our dialer says of a listener with this face.
async fn as_listener(face: &Face) -> Result<Connection, DialError> {
    listening(face, &Node::new(Config::default())).await
}

async fn listening(face: &Face, node: &Node) -> Result<Connection, DialError> {
    listening_for(None, face, node).await
}

async fn listening_for(
    expected: Option<PeerId>,
    face: &Face,
    node: &Node,
) -> Result<Connection, DialError> {
    let foreign = face.endpoint();
    let address = foreign.local_addr().unwrap();
    let accepting = tokio::spawn(async move {
        let connection = foreign.accept().await.unwrap().await;
        tokio::time::sleep(PATIENCE).await;
        connection
    });
    let dialed = within(node.endpoint.dial(address, expected)).await;
    accepting.abort();
    dialed
}

#[tokio::test]
async fn the_good_certificate_that_the_bad_ones_start_from_is_believed() {
    let recipe = Recipe::good();
    let peer = id(&recipe.identity);
    let face = recipe.bake(1);
    assert_eq!(as_dialer(&face).await.unwrap().peer(), peer);
    assert_eq!(as_listener(&face).await.unwrap().peer(), peer);
}

#[tokio::test]
async fn an_unknown_extension_that_is_not_critical_is_ignored() {
    let mut recipe = Recipe::good();
    let unknown = Recipe::custom(b"\x05\x00", &[1, 3, 6, 1, 4, 1, 53594, 1, 99], false);
    recipe.params.custom_extensions.push(unknown);
    let face = recipe.bake(1);
    as_dialer(&face).await.unwrap();
    as_listener(&face).await.unwrap();
}

#[tokio::test]
async fn no_bad_certificate_of_a_dialer_is_believed() {
    for (what, face) in bad_faces() {
        match as_dialer(&face).await {
            Err(AcceptError::Authentication { source, .. }) => println!("{what}: {source}"),
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn no_bad_certificate_of_a_listener_is_believed() {
    for (what, face) in bad_faces() {
        match as_listener(&face).await {
            Err(DialError::Authentication { source, .. }) => println!("{what}: {source}"),
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn the_peer_is_compared_before_its_signature_is_verified() {
    let other = Keypair::generate_ed25519();
    let face = recipe(|r| {
        r.extension = r.extension_signed_by(&other, b"libp2p-tls-handshake:");
    });
    let node = Node::new(Config::default());
    let refused = listening_for(Some(id(&other)), &face, &node).await;
    // A verification would have found that the signature is wrong.
    assert!(
        matches!(refused, Err(DialError::WrongPeer { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn the_number_of_certificates_is_named() {
    let mut face = Recipe::good().bake(1);
    face.chain = vec![face.chain[0].clone(); 3];
    let refused = as_dialer(&face).await.unwrap_err();
    let AcceptError::Authentication { source, .. } = refused else {
        panic!("{refused}");
    };
    assert_eq!(source, CertificateError::Count { found: 3 });
}

#[tokio::test]
async fn a_good_certificate_without_its_key_is_not_believed() {
    let mut face = Recipe::good().bake(1);
    face.key = Recipe::good().key.serialize_der();
    let refused = as_dialer(&face).await;
    assert!(
        matches!(refused, Err(AcceptError::Handshake { .. })),
        "{refused:?}"
    );
    let refused = as_listener(&face).await;
    assert!(
        matches!(refused, Err(DialError::Handshake { .. })),
        "{refused:?}"
    );
}

/// Certificates are public: anybody who ever dialed the peer has a copy.
#[tokio::test]
async fn a_copied_certificate_is_not_believed_even_where_its_owner_was_before() {
    let recipe = Recipe::good();
    let peer = id(&recipe.identity);
    let owner = recipe.bake(1);
    let mut thief = owner.clone();
    thief.key = Recipe::good().key.serialize_der();
    let node = Node::new(Config::default());
    assert_eq!(dialing(&owner, &node).await.unwrap().peer(), peer);
    assert!(dialing(&thief, &node).await.is_err());
    assert_eq!(listening(&owner, &node).await.unwrap().peer(), peer);
    assert!(listening(&thief, &node).await.is_err());
}

#[tokio::test]
async fn a_certificate_that_was_good_is_not_believed_after_its_time() {
    let mut recipe = Recipe::good();
    let now = SystemTime::now();
    let left = Duration::from_secs(3);
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    recipe.params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since_epoch + left;
    let face = recipe.bake(1);
    let node = Node::new(Config::default());
    dialing(&face, &node).await.unwrap();
    // Its time is written in whole seconds.
    let over = left + Duration::from_secs(1);
    tokio::time::sleep(over.saturating_sub(now.elapsed().unwrap())).await;
    let refused = dialing(&face, &node).await;
    assert!(
        matches!(refused, Err(AcceptError::Authentication { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_dialer_without_a_certificate_is_refused() {
    let mut face = Recipe::good().bake(1);
    face.anonymous = true;
    match as_dialer(&face).await.unwrap_err() {
        AcceptError::Authentication { source, .. } => {
            assert_eq!(source, CertificateError::Missing);
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn another_application_protocol_or_none_is_refused() {
    for alpn in [vec![b"h3".to_vec()], vec![]] {
        let mut face = Recipe::good().bake(1);
        face.alpn = alpn;
        assert!(matches!(
            as_dialer(&face).await,
            Err(AcceptError::Handshake { .. })
        ));
        assert!(matches!(
            as_listener(&face).await,
            Err(DialError::Handshake { .. })
        ));
    }
}
