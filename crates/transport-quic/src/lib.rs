//! Authenticated, multiplexed connections over QUIC v1 that notice a restarted peer at once.
