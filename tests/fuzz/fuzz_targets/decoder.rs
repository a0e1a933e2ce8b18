//! Any bytes as a message of the broker: they are decoded or refused, and nothing else.
#![no_main]

#[path = "../../src/decoding.rs"]
mod decoding;

libfuzzer_sys::fuzz_target!(|input: &[u8]| decoding::decode(input));
