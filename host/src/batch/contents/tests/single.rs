//! Rare things one by one.

use super::*;
use crate::batch::TooLarge;

/// A length-delimited field.
fn field(number: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_varint(u64::from(number << 3 | 2), &mut out);
    prost::encoding::encode_varint(payload.len() as u64, &mut out);
    out.extend_from_slice(payload);
    out
}

fn request_of(items: &[Vec<u8>]) -> Bytes {
    let items: Vec<u8> = items.iter().flat_map(|item| field(2, item)).collect();
    Bytes::from(field(1, &field(2, &items)))
}

/// Leaves of a log record.
fn leaves_of(log: &[u8]) -> HashSet<Leaf> {
    let batch = indexed(Signal::Logs, &[request_of(&[log.to_vec()])]);
    let mut contents = read(&batch, &batch.slice(0..1));
    let leaves = listed(&mut contents).0;
    let different: HashSet<Leaf> = leaves[1..].iter().cloned().collect();
    assert_eq!(different.len(), leaves.len() - 1);
    different
}

fn leaf(place: u8, key: Option<(u8, &str)>, kind: u8, bytes: &[u8]) -> Leaf {
    (place, key.map(|(place, key)| (place, key.as_bytes().to_vec())), kind, bytes.to_vec())
}

#[test]
fn what_protobuf_hides_is_found() {
    // Two severity texts, two bodies, two variants in the second.
    let log =
        [field(3, b"first"), field(3, b"last"), field(5, &field(1, b"a")), field(5, b"\x0a\x01b\x18\x07")].concat();
    let expected = [
        leaf(18, None, 1, b"first"),
        leaf(18, None, 1, b"last"),
        leaf(19, None, 1, b"a"),
        leaf(19, None, 1, b"b"),
        leaf(19, None, 3, &7_i64.to_le_bytes()),
    ];
    assert_eq!(leaves_of(&log), HashSet::from(expected));
    // Two keys and two values in one attribute: all values have the last key.
    let attribute =
        [field(1, b"hidden"), field(2, &field(1, b"x")), field(1, b"k"), field(2, &field(7, b"y"))].concat();
    let batch = indexed(Signal::Logs, &[request_of(&[field(6, &attribute)])]);
    let mut contents = read(&batch, &batch.slice(0..1));
    let (leaves, keys) = listed(&mut contents);
    assert_eq!(leaves[1..], [leaf(20, Some((20, "k")), 1, b"x"), leaf(20, Some((20, "k")), 5, b"y")]);
    assert_eq!(
        keys[1..].iter().collect::<HashSet<_>>(),
        HashSet::from([&(20, b"hidden".to_vec()), &(20, b"k".to_vec())])
    );
}

#[test]
fn keys_of_what_is_nested() {
    let text = |text: &[u8]| field(1, text);
    let entry = |key: &[u8], value: &[u8]| field(1, &[field(1, key), field(2, value)].concat());
    let map = field(6, &[entry(b"inner", &text(b"a")), entry(b"list", &field(5, &field(1, &text(b"b"))))].concat());
    let list = field(5, &[field(1, &text(b"c")), field(1, &map), field(1, b"")].concat());
    let log = [field(5, &list), field(6, &[field(1, b"k"), field(2, &list)].concat())].concat();
    let of = |place: u8, own: Option<(u8, &str)>| {
        [
            leaf(place, own, 1, b"c"),
            leaf(place, Some((place, "inner")), 1, b"a"),
            leaf(place, Some((place, "list")), 1, b"b"),
            leaf(place, own, 8, b""),
        ]
    };
    let expected: HashSet<Leaf> = of(147, None).into_iter().chain(of(148, Some((20, "k")))).collect();
    assert_eq!(leaves_of(&log), expected);
}

#[test]
fn texts_that_are_not_utf8_are_bytes() {
    let log = [field(3, b"\xff"), field(6, &[field(1, b"\xfe"), field(2, &field(1, b"\xfd"))].concat())].concat();
    let expected = [leaf(18, None, 5, b"\xff"), (20, Some((20, b"\xfe".to_vec())), 5, b"\xfd".to_vec())];
    assert_eq!(leaves_of(&log), HashSet::from(expected.clone()));
    // The same as bytes of the same kind.
    let again = [log, field(6, &[field(1, b"\xfe"), field(2, &field(7, b"\xfd"))].concat())].concat();
    assert_eq!(leaves_of(&again), HashSet::from(expected));
}

#[test]
fn ids_that_are_none_hold_text() {
    for (id, is_leaf) in [
        (&[1; 16][..], false),
        (&[0; 16], false),
        (b"", false),
        (b"4111111111111111", true),
        (b"411111111111111\x00", false),
        (&[0; 15], true),
        (&[0; 17], true),
    ] {
        let expected = HashSet::from_iter(is_leaf.then(|| leaf(22, None, 5, id)));
        assert_eq!(leaves_of(&field(9, id)), expected, "{id:?}");
        // A span's id has half the length.
        assert_eq!(leaves_of(&field(10, id)).is_empty(), id.is_empty());
    }
    assert_eq!(leaves_of(&field(10, &[1; 8])), HashSet::new());
    assert_eq!(leaves_of(&field(10, b"passw0rd")), HashSet::from([leaf(22, None, 5, b"passw0rd")]));
}

/// Within this many lists and maps by turns, a text.
fn nested(depth: usize) -> Vec<u8> {
    (0..depth).fold(field(1, b"deep"), |inner, level| match level % 2 {
        0 => field(5, &field(1, &inner)),
        _ => field(6, &field(1, &[field(1, b"k"), field(2, &inner)].concat())),
    })
}

#[test]
fn what_is_nested_too_deep_is_removed() {
    for (depth, is_shown) in [(64, true), (65, false), (90, false)] {
        let logs = [field(5, &nested(depth)), field(6, &[field(1, b"k"), field(2, &nested(depth))].concat())];
        for log in logs {
            let mut batch = indexed(Signal::Logs, &[request_of(&[log])]);
            let slice = batch.slice(0..1);
            let mut contents = read(&batch, &slice);
            let has_text = |contents: &mut Contents| listed(contents).0.iter().any(|leaf| leaf.3 == b"deep");
            assert_eq!((has_text(&mut contents), contents.unjudgeable()), (is_shown, u64::from(!is_shown)));
            let mut edits = Edits::default();
            assert_eq!(batch.remove_unjudgeable(&contents, &mut edits, &mut { PLENTY }), Ok(u64::from(!is_shown)));
            batch.apply(Drops::new(&batch), edits).expect("no conflict");
            let left = batch.into_segments().expect("fits");
            assert_eq!(left[0].bytes.windows(4).any(|bytes| bytes == b"deep"), is_shown);
            assert!(is_shown || left[0].bytes.len() > 100, "what is less deep stays");
        }
    }
}

#[test]
fn unknown_fields_of_every_message_are_removed() {
    // A text field, a group, and a number in which text would be seen, in the request and at all levels down to values.
    let unknown =
        [field(900, b"secret"), b"\x83\x7d\xfa\xac\x68\x06secret\x84\x7d".to_vec(), b"\xa1\x7dsecret!!".to_vec()]
            .concat();
    let with = |message: Vec<u8>| [message, unknown.clone()].concat();
    let value = with(field(1, b"v"));
    let attribute = with([field(1, b"k"), field(2, &value)].concat());
    let event = with(field(3, &attribute));
    let span =
        with([field(9, &attribute), field(11, &event), field(13, &with(vec![])), field(15, &with(vec![]))].concat());
    let scope = with([field(1, &with(field(3, &attribute))), field(2, &span), field(2, &span)].concat());
    let entity = with(field(2, b"service"));
    let resource = with([field(1, &with(field(3, &entity))), field(2, &scope)].concat());
    let request = with(field(1, &resource));
    let mut batch = indexed(Signal::Traces, &[request.clone().into(), request.into()]);
    let mut all = Edits::default();
    let mut count = 0;
    for item in 0..batch.items() {
        let slice = batch.slice(item..item + 1);
        let contents = read(&batch, &slice);
        let mut edits = Edits::default();
        count += batch.remove_unjudgeable(&contents, &mut edits, &mut { PLENTY }).expect("found again");
        all.append(edits);
    }
    // Of the request, of what stands above spans (resource 2 and its entity, scope 2 with an attribute and value), and of two spans.
    let above = 1 + (1 + 1 + 1) + (1 + 1 + 2);
    let span = 1 + 2 + (1 + 2) + 1 + 1;
    assert_eq!(count, 2 * 3 * (above + 2 * span));
    batch.apply(Drops::new(&batch), all).expect("no conflict");
    for segment in batch.into_segments().expect("fits") {
        assert!(!segment.bytes.windows(6).any(|bytes| bytes == b"secret"));
        assert!(Request::decode(Signal::Traces, &segment.bytes).is_ok());
    }
}

#[test]
fn malformed_messages_are_counted() {
    let good = field(5, b"name");
    for bad in [
        &b"\x28\x01"[..],            // a name that is a number
        b"\x2a\x05name",             // cut off
        b"\x4a\x02\x0a\x05",         // an attribute's key that is cut off
        b"\x4a\x02\x10\x05",         // an attribute's value that is a number
        b"\x4a\x04\x12\x02\x08\x01", // a text that is a number
        b"\x07",                     // no wire type
        b"\x7a\x02\x10\x00",         // a status message that is a number
    ] {
        let mut request = request_of(&[good.clone(), bad.to_vec(), good.clone()]).to_vec();
        let batch = Batch::index(Signal::Traces, vec![std::mem::take(&mut request).into()]).expect("not looked at");
        let mut contents = Contents::default();
        assert_eq!(batch.read_contents(&batch.slice(0..3), &mut contents, &mut { PLENTY }), Ok(1), "{bad:?}");
        assert!(listed(&mut contents).0.contains(&leaf(8, None, 1, b"name")));
    }
    // Packed numbers that do not fill their field.
    for (number, payload) in [(6, &b"1234567"[..]), (7, b"123456789")] {
        let point = field(9, &field(1, &field(number, payload)));
        let batch = Batch::index(Signal::Metrics, vec![request_of(&[point])]).expect("not looked at");
        assert_eq!(batch.read_contents(&batch.slice(0..1), &mut Contents::default(), &mut { PLENTY }), Ok(1));
    }
}

#[test]
fn contents_are_bounded() {
    let attribute = |number: u32| field(6, &[field(1, b"k"), field(2, &field(1, &number.to_le_bytes()))].concat());
    let log: Vec<u8> = (0..1_000).flat_map(attribute).collect();
    let batch = indexed(Signal::Logs, &[request_of(&[log])]);
    let slice = batch.slice(0..1);
    let mut contents = Contents::default();
    let mut left = PLENTY;
    assert_eq!(batch.read_contents(&slice, &mut contents, &mut left), Ok(0));
    let taken = PLENTY - left;
    assert!((1_000 * (4 + 8)..1_000 * 100).contains(&taken), "{taken}");
    assert_eq!(batch.read_contents(&slice, &mut contents, &mut { taken + 1 }), Ok(0));
    assert_eq!(batch.read_contents(&slice, &mut contents, &mut { taken }), Err(TooLarge));
    let all: Vec<u32> = (1..contents.key_count()).collect();
    assert_eq!(batch.read_contents(&slice, &mut contents, &mut { PLENTY }), Ok(0));
    assert_eq!(contents.leaf_count(), 1_001);
    let mut edits = Edits::default();
    assert_eq!(batch.remove_keys(&contents, &all, &mut edits, &mut { 10_000 }), Err(EditError::TooLarge));
    assert_eq!(batch.remove_keys(&contents, &all, &mut edits, &mut { PLENTY }), Ok(1_000));
}

#[test]
fn what_has_no_items_is_shown_once() {
    let head = |text: &[u8]| field(1, &field(1, &[field(1, b"k"), field(2, &field(1, text))].concat()));
    let named = |name: &[u8]| field(2, &field(2, &field(5, name)));
    let scope = field(2, &field(1, &field(1, b"no spans")));
    let request = [
        field(1, &head(b"no scopes")),
        field(1, &[scope.clone(), named(b"first"), named(b"last"), scope].concat()),
        field(1, &[field(3, b"no scopes"), field(2, b"")].concat()),
    ];
    let without_items = [field(1, &head(b"alone")), field(900, b"unknown")].concat();
    let segments =
        [field(900, b"unknown").into(), without_items.clone().into(), request.concat().into(), without_items.into()];
    let batch = indexed(Signal::Traces, &segments);
    let slices = [0..1, 1..2].map(|items| read(&batch, &batch.slice(items)));
    assert_eq!(slices.iter().map(Contents::unjudgeable).sum::<u64>(), 3);
    let texts = slices.map(|mut contents| listed(&mut contents).0.into_iter().map(|leaf| leaf.3));
    let texts: HashSet<Vec<u8>> = texts.into_iter().flatten().filter(|text| !text.is_empty()).collect();
    let expected = [&b"no scopes"[..], b"no spans", b"first", b"last", b"alone"].map(<[u8]>::to_vec);
    assert_eq!(texts, HashSet::from(expected));
}
