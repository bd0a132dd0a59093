#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| watermark_fuzz::reference::run(bytes));
