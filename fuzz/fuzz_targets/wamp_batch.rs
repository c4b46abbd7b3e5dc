#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wampgate_fuzz::batch(bytes));
