//! Requests, resources and scopes, encoded by hand: alike in all three signals, and room for fields that no schema knows.

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use prost::encoding::{encode_key, encode_varint};

/// Appends one `Resource*` message (field 1 of the request) with these scopes' items.
/// `unknown`: fields of a future schema at every level.
pub fn resource(out: &mut Vec<u8>, resource: &Resource, scopes: &[Vec<Vec<u8>>], unknown: bool) {
    let mut body = Vec::new();
    message(&mut body, 1, &resource.encode_to_vec());
    for (index, items) in scopes.iter().enumerate() {
        let scope = InstrumentationScope {
            name: format!("shop.instrumentation.{index}"),
            version: "1.4.2".to_owned(),
            ..InstrumentationScope::default()
        };
        let mut inner = Vec::new();
        message(&mut inner, 1, &scope.encode_to_vec());
        for item in items {
            message(&mut inner, 2, item);
        }
        message(&mut inner, 3, b"https://opentelemetry.io/schemas/1.37.0");
        if unknown {
            future_fields(&mut inner);
        }
        message(&mut body, 2, &inner);
    }
    if unknown {
        future_fields(&mut body);
    }
    message(out, 1, &body);
    if unknown {
        future_fields(out);
    }
}

/// One field of each wire type that no schema has.
pub fn future_fields(out: &mut Vec<u8>) {
    encode_key(901, prost::encoding::WireType::Varint, out);
    encode_varint(300, out);
    encode_key(902, prost::encoding::WireType::SixtyFourBit, out);
    out.extend_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
    message(out, 903, b"from a later schema");
    encode_key(904, prost::encoding::WireType::ThirtyTwoBit, out);
    out.extend_from_slice(&[9, 9, 9, 9]);
}

fn message(out: &mut Vec<u8>, number: u32, content: &[u8]) {
    encode_key(number, prost::encoding::WireType::LengthDelimited, out);
    encode_varint(content.len() as u64, out);
    out.extend_from_slice(content);
}
