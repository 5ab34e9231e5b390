//! Arbitrary and damaged bytes: no panic, and the same requests refused as by prost, as far as the index looks.

use super::columns::check_columns;
use super::*;

/// The messages that the index looks into; what it only passes over is opaque here.
mod skeleton {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Request {
        #[prost(message, repeated, tag = "1")]
        pub resources: Vec<Resource>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Resource {
        #[prost(bytes = "vec", tag = "1")]
        pub head: Vec<u8>,
        #[prost(message, repeated, tag = "2")]
        pub scopes: Vec<Scope>,
        #[prost(bytes = "vec", tag = "3")]
        pub schema_url: Vec<u8>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Scope {
        #[prost(bytes = "vec", tag = "1")]
        pub head: Vec<u8>,
        #[prost(bytes = "vec", repeated, tag = "2")]
        pub items: Vec<Vec<u8>>,
        #[prost(bytes = "vec", tag = "3")]
        pub schema_url: Vec<u8>,
    }
    /// What `ensure` looks at.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Span {
        #[prost(bytes = "vec", repeated, tag = "11")]
        pub events: Vec<Vec<u8>>,
        #[prost(bytes = "vec", repeated, tag = "13")]
        pub links: Vec<Vec<u8>>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Metric {
        #[prost(bytes = "vec", tag = "1")]
        pub name: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub description: Vec<u8>,
        #[prost(bytes = "vec", tag = "3")]
        pub unit: Vec<u8>,
        #[prost(bytes = "vec", repeated, tag = "12")]
        pub metadata: Vec<Vec<u8>>,
        #[prost(oneof = "Data", tags = "5, 7, 9, 10, 11")]
        pub data: Option<Data>,
    }
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Data {
        #[prost(message, tag = "5")]
        Gauge(Points),
        #[prost(message, tag = "7")]
        Sum(Sum),
        #[prost(message, tag = "9")]
        Histogram(Histogram),
        #[prost(message, tag = "10")]
        Exponential(Histogram),
        #[prost(message, tag = "11")]
        Summary(Points),
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Points {
        #[prost(bytes = "vec", repeated, tag = "1")]
        pub points: Vec<Vec<u8>>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Histogram {
        #[prost(bytes = "vec", repeated, tag = "1")]
        pub points: Vec<Vec<u8>>,
        #[prost(int32, tag = "2")]
        pub temporality: i32,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Sum {
        #[prost(bytes = "vec", repeated, tag = "1")]
        pub points: Vec<Vec<u8>>,
        #[prost(int32, tag = "2")]
        pub temporality: i32,
        #[prost(bool, tag = "3")]
        pub monotonic: bool,
    }
}

impl skeleton::Metric {
    fn points(&self) -> usize {
        match &self.data {
            None => 0,
            Some(skeleton::Data::Gauge(data) | skeleton::Data::Summary(data)) => data.points.len(),
            Some(skeleton::Data::Sum(data)) => data.points.len(),
            Some(skeleton::Data::Histogram(data) | skeleton::Data::Exponential(data)) => data.points.len(),
        }
    }
}

/// Items and account as prost sees them, None where it refuses.
fn judge(signal: Signal, bytes: &[u8]) -> Option<(u32, u64)> {
    let request = skeleton::Request::decode(bytes).ok()?;
    let items: Vec<Vec<u8>> = request.resources.into_iter().flat_map(|r| r.scopes).flat_map(|s| s.items).collect();
    let account = match signal {
        Signal::Metrics => {
            let metrics: Result<Vec<_>, _> =
                items.iter().map(|bytes| skeleton::Metric::decode(bytes.as_slice())).collect();
            metrics.ok()?.iter().map(skeleton::Metric::points).sum()
        }
        Signal::Traces | Signal::Logs => items.len(),
    };
    Some((items.len() as u32, account as u64))
}

/// Everything that can be done with a batch, on bytes of any kind.
fn check(signal: Signal, bytes: &[u8], rng: &mut StdRng) {
    let indexed = Batch::index(signal, vec![Bytes::copy_from_slice(bytes)]);
    let seen = indexed.as_ref().ok().map(|batch| (batch.items(), batch.account()));
    assert_eq!(seen, judge(signal, bytes), "{signal}: {indexed:?}");
    if Request::decode(signal, bytes).is_ok() {
        return check_columns(signal, vec![Bytes::copy_from_slice(bytes)], rng);
    }
    let Ok(mut batch) = indexed else { return };
    if signal == Signal::Traces {
        let items = (0..batch.items()).map(|item| batch.index.items[item as usize].of(bytes));
        let well_formed = items.map(skeleton::Span::decode).all(|span| span.is_ok());
        assert_eq!(batch.ensure(Level::Event).is_ok(), well_formed);
    }
    let paths =
        ["span.name", "span.attributes[\"k\"][0]", "scope.attributes[\"\"]", "log.body[\"k\"]", "datapoint.flags"];
    let fields: Vec<Field> = paths.iter().map(|path| Field::open(&[(*path).to_owned()]).expect("known")).collect();
    let slice = batch.slice(0..batch.items());
    let mut columns = vec![Column::default(); fields.len()];
    batch.columns(&slice, &fields.iter().collect::<Vec<_>>(), &mut columns, &mut { PLENTY }).expect("fits");
    let mut drops = Drops::new(&batch);
    for level in Level::ALL {
        let mut rows = RowSet::empty(level, batch.rows(&slice, level));
        (0..rows.len()).filter(|_| rng.random_ratio(1, 4)).for_each(|row| rows.insert(row));
        drops.add(&batch, &slice, &rows);
    }
    batch.apply(drops, Edits::default()).expect("drops alone always apply");
    let account = batch.account();
    for segment in batch.into_segments().expect("nothing grew") {
        assert_eq!(judge(signal, &segment.bytes).map(|judged| judged.1), Some(account), "still well-formed");
    }
}

#[test]
fn arbitrary_bytes_are_judged_as_by_prost() {
    let bytes = proptest::collection::vec(
        prop_oneof![3 => proptest::sample::select(b"\x0a\x12\x1a\x10\x18\x3a\x2a\x0b\x0c\x00\x01\x02\x04\x80".to_vec()), 1 => any::<u8>()],
        0..40,
    );
    for_values(20_000, (bytes, any::<u64>()), |(bytes, seed)| {
        for signal in Signal::ALL {
            check(signal, &bytes, &mut StdRng::seed_from_u64(seed));
        }
    });
}

#[test]
fn damaged_requests_are_judged_as_by_prost() {
    for_seeds(400, |rng| {
        let (signal, segments) = requests(rng);
        for bytes in segments.iter().filter(|bytes| !bytes.is_empty()) {
            for _ in 0..6 {
                let mut damaged = bytes.to_vec();
                match rng.random_range(0..3) {
                    0 => damaged.truncate(rng.random_range(0..bytes.len())),
                    1 => damaged[rng.random_range(0..bytes.len())] = rng.random(),
                    _ => {
                        let at = rng.random_range(0..bytes.len());
                        damaged[at] ^= 1 << rng.random_range(0..8);
                    }
                }
                check(signal, &damaged, rng);
            }
        }
    });
}

#[test]
fn varints_are_read_as_by_prost() {
    let byte = prop_oneof![proptest::sample::select(b"\x00\x01\x02\x7f\x80\x81\xff".to_vec()), 0x80..=u8::MAX];
    for_values(5_000, proptest::collection::vec(byte, 0..13), |bytes| {
        let mut rest = bytes.as_slice();
        let expected = prost::encoding::decode_varint(&mut rest).ok();
        let mut reader = wire::Reader::new(&bytes);
        assert_eq!(reader.varint().ok(), expected, "{bytes:?}");
        assert!(expected.is_none() || reader.at() as usize == bytes.len() - rest.len());
        let tag = wire::Reader::new(&bytes).tag();
        let key = expected.and_then(|key| u32::try_from(key).ok()).map(|key| (key >> 3, (key & 7) as u8));
        assert_eq!(tag.ok().flatten().map(|tag| (tag.number, tag.wire)), key);
    });
}

#[test]
fn groups_nest_as_deep_as_for_prost() {
    for depth in 95..103 {
        for inside in [&b""[..], b"\x08\x01"] {
            let mut group = vec![0x7b; depth];
            group.extend_from_slice(inside);
            group.extend(vec![0x7c; depth]);
            let within = |field: u8, message: &[u8]| {
                let mut out = vec![field << 3 | 2];
                prost::encoding::encode_varint(message.len() as u64, &mut out);
                out.extend_from_slice(message);
                out
            };
            let scope = within(1, &within(2, &group));
            for bytes in [group.clone(), within(1, &group), scope] {
                let indexed = Batch::index(Signal::Traces, vec![Bytes::from(bytes.clone())]);
                assert_eq!(indexed.is_ok(), Request::decode(Signal::Traces, &bytes).is_ok(), "depth {depth}");
            }
        }
    }
}

#[test]
fn a_malformed_message_has_no_fields() {
    // Two spans: in the first, the name comes after a field that is cut off.
    let span = b"\x2a\x01a\x4a\x05\x0a\x01k\x12\x00\x09\x00";
    let mut scope = b"\x12\x0c".to_vec();
    scope.extend_from_slice(span);
    scope.extend_from_slice(b"\x12\x0a\x2a\x01a\x4a\x05\x0a\x01k\x12\x00");
    let mut resource = vec![0x12, scope.len() as u8];
    resource.extend(scope);
    let mut request = vec![0x0a, resource.len() as u8];
    request.extend(resource);
    let batch = Batch::index(Signal::Traces, vec![request.into()]).expect("well-formed so far");
    let open = |path: &str| Field::open(&[path.to_owned()]).expect("known");
    let (name, attribute) = (open("span.name"), open("span.attributes[\"k\"]"));
    let slice = batch.slice(0..2);
    let mut columns = vec![Column::default(); 2];
    assert_eq!(batch.columns(&slice, &[&name, &attribute], &mut columns, &mut { PLENTY }), Ok(1));
    assert_eq!((&columns[0].codes[..], &columns[1].codes[..]), (&[0, 1][..], &[0, 1][..]));
    // Attributes alone are found before the scan gets there.
    assert_eq!(batch.columns(&slice, &[&attribute], &mut columns[1..], &mut { PLENTY }), Ok(0));
    assert_eq!(columns[1].codes, [1, 1]);
}
