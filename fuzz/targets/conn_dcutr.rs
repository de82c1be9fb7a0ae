#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| conn_state::fuzzing::dcutr(data));
