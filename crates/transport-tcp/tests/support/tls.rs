//! TLS as a proxy speaks it.

use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{RootCertStore, ServerConfig, crypto::aws_lc_rs, version};
use tokio_rustls::TlsAcceptor;
use transport_tcp::{ByteStream, ProxyTls};

use super::proxy::{Log, Service, service};

/// Accepts TLS with a certificate for `names` and passes what is inside on. Gives the roots that vouch for it.
pub fn secured(names: &[&str], inner: Service) -> (Service, ProxyTls, Log) {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let CertifiedKey { cert, key_pair } = generate_simple_self_signed(names).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let key = key_pair.serialize_der().try_into().unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    // A client that has gone by then would make an error of them.
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let log = Log::default();
    let noted = log.clone();
    let serve = move |io: ByteStream| {
        let (acceptor, inner, log) = (acceptor.clone(), inner.clone(), noted.clone());
        async move {
            log.note("connected");
            let Ok(stream) = acceptor.accept(io).await else {
                return log.note("no handshake");
            };
            let session = stream.get_ref().1;
            log.note(format!("name {:?}", session.server_name()));
            let alpn = session.alpn_protocol().map(String::from_utf8_lossy);
            log.note(format!("alpn {alpn:?}"));
            inner(ByteStream::boxed(stream)).await;
        }
    };
    (service(serve), ProxyTls::with_roots(roots), log)
}
