//! Authenticated, multiplexed connections over a byte stream, and the dialer that brings the stream about.
