#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| bellwire::fuzz::srtp(input));
