//! The validators, one per namespace. A validator decides which values are valid, and which of two valid values is better.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

type Validate = dyn Fn(&[u8], &[u8]) -> bool + Send + Sync;
type Prefer = dyn Fn(&[u8], &[u8], &[u8]) -> Ordering + Send + Sync;

/// Decides about the values of one namespace. Peers choose the values, and the DHT waits for each decision, so the functions must
/// be quick. A value on which a function panics is invalid.
#[derive(Clone)]
pub struct Validator {
    validate: Arc<Validate>,
    prefer: Arc<Prefer>,
}

impl Validator {
    /// A validator from a function of the key and the value. Of two valid values, the one with the greater bytes is better.
    pub fn new(validate: impl Fn(&[u8], &[u8]) -> bool + Send + Sync + 'static) -> Self {
        let prefer = |_: &[u8], one: &[u8], other: &[u8]| one.cmp(other);
        Self {
            validate: Arc::new(validate),
            prefer: Arc::new(prefer),
        }
    }

    /// Sets the function that compares two valid values of a key. The greater value is better. All nodes need the same order.
    pub fn with_order(
        mut self,
        prefer: impl Fn(&[u8], &[u8], &[u8]) -> Ordering + Send + Sync + 'static,
    ) -> Self {
        self.prefer = Arc::new(prefer);
        self
    }
}

impl fmt::Debug for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Validator")
    }
}

/// The namespaces of a DHT. A key `/NAME/…` is in the namespace NAME. Values in other namespaces are refused.
#[derive(Debug, Clone, Default)]
pub struct Namespaces(BTreeMap<Vec<u8>, Validator>);

impl Namespaces {
    /// An empty set of namespaces.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a namespace, or replaces its validator.
    pub fn with(mut self, name: &str, validator: Validator) -> Self {
        self.0.insert(name.as_bytes().to_vec(), validator);
        self
    }

    /// Adds `/pk/`: the public keys of peers. A value is valid if it is the key of the peer whose id follows `/pk/`.
    #[cfg(feature = "libp2p")]
    pub fn with_public_keys(self) -> Self {
        use libp2p_identity::PublicKey;
        let validate = |key: &[u8], value: &[u8]| {
            let peer = PublicKey::try_decode_protobuf(value).map(|key| key.to_peer_id());
            peer.is_ok_and(|peer| key.strip_prefix(b"/pk/") == Some(&peer.to_bytes()))
        };
        self.with("pk", Validator::new(validate))
    }

    pub(crate) fn is_valid(&self, key: &[u8], value: &[u8]) -> bool {
        self.of(key).is_some_and(|validator| {
            let validate = || (validator.validate)(key, value);
            catch(validate).unwrap_or(false)
        })
    }

    /// Compares two valid values. The greater one is better.
    pub(crate) fn compare(&self, key: &[u8], one: &[u8], other: &[u8]) -> Ordering {
        let order = self.of(key).and_then(|validator| {
            let prefer = || (validator.prefer)(key, one, other);
            catch(prefer)
        });
        order.unwrap_or(Ordering::Equal)
    }

    fn of(&self, key: &[u8]) -> Option<&Validator> {
        let rest = key.strip_prefix(b"/")?;
        let end = rest.iter().position(|byte| *byte == b'/')?;
        self.0.get(&rest[..end])
    }
}

/// The result of a function of the host. A panic on the value of a peer would otherwise end the task that runs the DHT.
fn catch<T>(decide: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(decide)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_needs_a_known_namespace_and_a_valid_form() {
        let short = Validator::new(|_, value| value.len() < 3);
        let names = Namespaces::new().with("short", short);
        assert!(names.is_valid(b"/short/a", b"12"));
        assert!(!names.is_valid(b"/short/a", b"123"));
        for key in [&b"/other/a"[..], b"short/a", b"/short", b"", b"/", b"//a"] {
            assert!(!names.is_valid(key, b"12"));
        }
    }

    #[test]
    fn the_better_value_is_the_greater_one_unless_the_validator_says_otherwise() {
        let names = Namespaces::new().with("a", Validator::new(|_, _| true));
        assert_eq!(names.compare(b"/a/k", b"2", b"1"), Ordering::Greater);
        let shorter =
            Validator::new(|_, _| true).with_order(|_, one, other| other.len().cmp(&one.len()));
        let names = names.with("a", shorter);
        assert_eq!(names.compare(b"/a/k", b"2", b"10"), Ordering::Greater);
    }

    #[test]
    fn a_value_on_which_the_validator_panics_is_invalid() {
        let validator = Validator::new(|_, value| {
            assert_ne!(value, b"boom", "this panic is part of a test");
            true
        });
        let order =
            |_: &[u8], _: &[u8], _: &[u8]| -> Ordering { panic!("this panic is part of a test") };
        let names = Namespaces::new().with("a", validator.with_order(order));
        assert!(!names.is_valid(b"/a/k", b"boom"));
        assert!(names.is_valid(b"/a/k", b"1"));
        assert_eq!(names.compare(b"/a/k", b"1", b"2"), Ordering::Equal);
    }

    #[cfg(feature = "libp2p")]
    #[test]
    fn a_public_key_is_stored_only_under_the_id_of_its_peer() {
        let names = Namespaces::new().with_public_keys();
        let pair = libp2p_identity::Keypair::generate_ed25519().public();
        let key = |peer: &libp2p_identity::PeerId| [b"/pk/", &peer.to_bytes()[..]].concat();
        assert!(names.is_valid(&key(&pair.to_peer_id()), &pair.encode_protobuf()));
        assert!(!names.is_valid(
            &key(&libp2p_identity::PeerId::random()),
            &pair.encode_protobuf()
        ));
        assert!(!names.is_valid(&key(&pair.to_peer_id()), b"no key"));
    }
}
