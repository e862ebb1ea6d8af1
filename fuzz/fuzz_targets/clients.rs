#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| qlik_context_fuzz::clients::holds(input));
