//! OTLP/JSON against protobuf: a request that prost takes means the same after it was JSON, and JSON that is taken gives a request
//! that prost takes and that does not change when it is written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicebox_fuzz::json::{JsonError, to_json, to_protobuf};
use sluicebox_fuzz::{Choices, Request};

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices(bytes);
    let signal = choices.signal();
    let is_json = choices.byte() & 1 == 1;
    let body = choices.0;
    if is_json {
        let Ok(protobuf) = to_protobuf(signal, body) else { return };
        let request = Request::decode(signal, &protobuf).expect("what JSON becomes can be decoded");
        let again = to_json(signal, &protobuf).expect("what JSON became can be written");
        let read = to_protobuf(signal, &again).expect("what is written can be read");
        assert_eq!(text(&Request::decode(signal, &read).expect("can be decoded")), text(&request));
        return;
    }
    let Some(request) = Request::decode(signal, body) else { return };
    // Without unknown fields, which JSON has no names for.
    let Ok(json) = to_json(signal, &request.encode()) else { return };
    let read = match to_protobuf(signal, &json) {
        Ok(read) => read,
        // Protobuf takes ids of any length, JSON does not.
        Err(JsonError::Unexpected { path, .. }) if path.ends_with("Id") => return,
        Err(error) => panic!("what is written can be read: {error}"),
    };
    assert_eq!(text(&Request::decode(signal, &read).expect("can be decoded")), text(&request));
});

/// As text, since a NaN is not equal to itself.
fn text(request: &Request) -> String {
    format!("{request:?}")
}
