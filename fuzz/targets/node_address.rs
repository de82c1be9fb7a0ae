#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| node::address_fuzzing::address(data));
