#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| watermark_fuzz::profiles::run(bytes));
