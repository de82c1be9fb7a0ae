#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(terms) = serde_json::from_slice(data) {
        relay_slots::fuzzing::terms(&terms);
    }
});
