//! HMAC-SHA256.

use rustls::crypto::{aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256, tls13::OkmBlock};

/// HMAC-SHA256 by the rustls provider, the one crypto library in the tree.
pub(crate) fn hmac(key: &[u8], data: &[u8]) -> Option<[u8; 32]> {
    let suite = TLS13_AES_128_GCM_SHA256.tls13()?;
    let tag = suite.hkdf_provider.hmac_sign(&OkmBlock::new(key), data);
    tag.as_ref().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_agrees_with_rfc_4231_case_2() {
        let tag = hmac(b"Jefe", b"what do ya want for nothing?").unwrap();
        let hex: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
