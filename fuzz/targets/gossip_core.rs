#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gossip_net::fuzzing::gossip_core(
    std::time::Instant::now(),
    data
));
