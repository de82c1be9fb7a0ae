#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bootstrap::fuzzing::dnsaddr_records(data));
