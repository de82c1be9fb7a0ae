//! What the fuzz targets feed: the decoders of our own that see a stranger's bytes.

/// A `NoiseHandshakePayload` that claims to go with some static key.
pub fn noise_payload(data: &[u8]) {
    let _ = crate::noise::verify_payload(data, &[7; 32]);
}
