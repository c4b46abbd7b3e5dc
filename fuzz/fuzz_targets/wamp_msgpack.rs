#![no_main]

use wampgate::wamp::serializer::Serializer;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wampgate_fuzz::frame(Serializer::Msgpack, bytes));
