//! Encodings that are rare, one by one, with what they must read as.

use super::*;

/// A length-delimited field.
fn field(number: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    prost::encoding::encode_varint(payload.len() as u64, &mut out);
    out.extend_from_slice(payload);
    out
}

/// Kind and bytes of the log's body or of its attribute `k`.
fn read(path: &str, log: &[u8]) -> (u8, Vec<u8>) {
    let request = field(1, &field(2, &field(2, log)));
    let batch = Batch::index(Signal::Logs, vec![request.into()]).expect("well-formed");
    let opened = Field::open(&[path.to_owned()]).expect("known");
    let mut columns = [Column::default()];
    assert_eq!(batch.columns(&batch.slice(0..1), &[&opened], &mut columns, &mut { PLENTY }), Ok(0));
    let (kind, bytes) = columns[0].value(columns[0].codes[0]);
    (kind, bytes.to_vec())
}

#[test]
fn values_in_parts_and_replaced_values() {
    type Case<'a> = (&'a [&'a [u8]], u8, &'a [u8]);
    let cases: [Case<'_>; 9] = [
        (&[], 0, b""),
        (&[b""], 8, b""),
        (&[b"\x0a\x01a", b""], 1, b"a"),
        (&[b"\x0a\x01a", b"\x10\x80\x00"], 2, b"\x00"),
        (&[b"\x0a\x01a\x0a\x01b"], 1, b"b"),
        (&[b"\x0a\x01\xff"], 5, b"\xff"),
        (&[b"\x3a\x01\xff"], 5, b"\xff"),
        (&[b"\x2a\x02\x0a\x00", b"\x2a\x02\x0a\x00"], 6, b"\x2a\x02\x0a\x00\x2a\x02\x0a\x00"),
        (&[b"\x0a\x01a\x40\x07"], 8, b""),
    ];
    for (parts, kind, bytes) in cases {
        let log: Vec<u8> = parts.iter().flat_map(|part| field(5, part)).collect();
        assert_eq!(read("log.body", &log), (kind, bytes.to_vec()), "{parts:?}");
    }
}

#[test]
fn metric_data_in_parts_and_replaced_data() {
    const PART_OF_SUM: &[u8] = b"\x3a\x06\x0a\x00\x10\x02\x18\x01";
    type Case<'a> = (&'a [&'a [u8]], u64, [(u8, i64); 3]);
    let cases: [Case<'_>; 5] = [
        (&[PART_OF_SUM], 1, [(3, 2), (3, 2), (2, 1)]),
        (&[PART_OF_SUM, b"\x3a\x02\x0a\x00"], 2, [(3, 2), (3, 2), (2, 1)]),
        (&[PART_OF_SUM, b"\x4a\x02\x0a\x00"], 1, [(3, 3), (3, 0), (0, 0)]),
        (&[PART_OF_SUM, b"\x2a\x00"], 0, [(3, 1), (0, 0), (0, 0)]),
        (&[PART_OF_SUM, b"\x2a\x00", b"\x3a\x02\x0a\x00"], 1, [(3, 2), (3, 0), (2, 0)]),
    ];
    let paths = ["metric.type", "metric.aggregation_temporality", "metric.is_monotonic"];
    let fields = paths.map(|path| Field::open(&[path.to_owned()]).expect("known"));
    for (parts, points, expected) in cases {
        let request = field(1, &field(2, &field(2, &parts.concat())));
        let batch = Batch::index(Signal::Metrics, vec![request.into()]).expect("well-formed");
        assert_eq!(batch.account(), points, "{parts:?}");
        let mut columns = vec![Column::default(); 3];
        batch.columns(&batch.slice(0..1), &fields.each_ref(), &mut columns, &mut { PLENTY }).expect("fits");
        let read = columns.iter().map(|column| {
            let (kind, bytes) = column.value(column.codes[0]);
            (kind, bytes.iter().rev().fold(0, |value, &byte| value << 8 | i64::from(byte)))
        });
        assert_eq!(read.collect::<Vec<_>>(), expected, "{parts:?}");
    }
}

#[test]
fn the_first_attribute_of_a_key_is_read_and_the_last_key_of_an_attribute() {
    let entry = |key: &[u8], value: &[u8]| [field(1, key), field(2, &field(1, value))].concat();
    let log = [field(6, &entry(b"other", b"0")), field(6, &entry(b"k", b"1")), field(6, &entry(b"k", b"2"))].concat();
    assert_eq!(read("log.attributes[\"k\"]", &log), (1, b"1".to_vec()));
    let renamed = [entry(b"k", b"0"), field(1, b"x")].concat();
    let log = [field(6, &renamed), field(6, &[field(1, b"x"), entry(b"k", b"1")].concat())].concat();
    assert_eq!(read("log.attributes[\"k\"]", &log), (1, b"1".to_vec()));
    assert_eq!(read("log.attributes[\"\"]", &field(6, b"\x12\x02\x18\x05")), (3, 5_i64.to_le_bytes().to_vec()));
    assert_eq!(read("log.attributes[\"k\"]", &field(6, b"\x0a\x01k")), (8, vec![]));
}

#[test]
fn lists_in_parts_are_one_list() {
    let element = |text: &[u8]| field(5, &field(1, &field(1, text)));
    let log = field(5, &[element(b"0"), element(b"1")].concat());
    assert_eq!(read("log.body[1]", &log), (1, b"1".to_vec()));
    assert_eq!(read("log.body[2]", &log).0, 0);
    // What another variant replaced is gone.
    let log = field(5, &[element(b"0"), field(1, b""), element(b"1")].concat());
    assert_eq!(read("log.body[0]", &log), (1, b"1".to_vec()));
    let map = |key: &[u8]| field(6, &field(1, &[field(1, key), field(2, &field(1, key))].concat()));
    let log = [field(5, &map(b"a")), field(5, &map(b"b"))].concat();
    assert_eq!(read("log.body[\"b\"]", &log), (1, b"b".to_vec()));
    assert_eq!(read("log.body[\"c\"]", &log).0, 0);
}

#[test]
fn more_attributes_than_one_scan_can_look_for() {
    let keys: Vec<String> = (0..150).map(|number| format!("k{number}")).collect();
    let log: Vec<u8> = keys
        .iter()
        .flat_map(|key| field(6, &[field(1, key.as_bytes()), field(2, &field(1, key.as_bytes()))].concat()))
        .collect();
    let request = field(1, &field(2, &field(2, &log)));
    let batch = Batch::index(Signal::Logs, vec![request.into()]).expect("well-formed");
    let fields: Vec<Field> =
        keys.iter().map(|key| Field::open(&[format!("log.attributes[\"{key}\"]")]).expect("known")).collect();
    let mut columns = vec![Column::default(); fields.len()];
    let opened: Vec<&Field> = fields.iter().collect();
    batch.columns(&batch.slice(0..1), &opened, &mut columns, &mut { PLENTY }).expect("fits");
    for (column, key) in columns.iter().zip(&keys) {
        assert_eq!(column.value(column.codes[0]), (1, key.as_bytes()));
    }
}

#[test]
fn requests_of_more_than_4_gib_are_refused() {
    let large = Bytes::from(vec![0; 1 << 20]);
    let refused = Batch::index(Signal::Logs, vec![large; 4096]).expect_err("too large");
    assert_eq!(refused.offset, u32::MAX);
}
