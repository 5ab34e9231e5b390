//! Arbitrary and damaged bytes: no panic, and what was edited is still a request.

use proptest::prelude::*;
use rand::Rng;

use super::*;
use crate::batch::tests::for_values;

/// Everything that can be done.
fn check(signal: Signal, bytes: &[u8]) {
    let Ok(mut batch) = Batch::index(signal, vec![Bytes::copy_from_slice(bytes)]) else { return };
    let slice = batch.slice(0..batch.items());
    let mut contents = Contents::default();
    let malformed = batch.read_contents(&slice, &mut contents, &mut { PLENTY }).expect("fits");
    assert!(malformed == 0 || Request::decode(signal, bytes).is_err(), "what prost accepts is not malformed");
    let left = &mut { PLENTY };
    let mut edits = Edits::default();
    batch.remove_unjudgeable(&contents, &mut edits, left).expect("can be found again");
    let (leaves, keys) = listed(&mut contents);
    let which: Vec<u32> = (1..leaves.len() as u32).collect();
    let kinds = vec![1; which.len()];
    let text = "*".repeat(which.len());
    let offsets: Vec<u32> = (0..=which.len() as u32).collect();
    let to = NewValues::new(&kinds, &offsets, text.as_bytes()).expect("legal");
    batch.replace_leaves(&contents, &which, &to, &mut edits, left).expect("can be found again");
    let which: Vec<u32> = (1..keys.len() as u32).collect();
    let to = NewValues::new(&kinds[..0], &[], b"").expect("legal");
    assert_eq!(batch.rename_keys(&contents, &[], &to, &mut edits, left), Ok(0));
    for level in Level::ALL {
        contents.where_leaves(&batch, &slice, &which, level);
        contents.key_counts(&batch, &slice, &which, level);
    }
    batch.apply(Drops::new(&batch), edits).expect("no conflict");
    batch.settle().expect("still a request");
    if malformed > 0 {
        return;
    }
    let slice = batch.slice(0..batch.items());
    let mut after = read(&batch, &slice);
    assert_eq!(after.unjudgeable(), 0);
    let (leaves, _) = listed(&mut after);
    for (place, _, kind, bytes) in &leaves[1..] {
        let is_id = [12, 17, 22, 29].contains(place) && bytes.iter().all(|byte| *byte == 0);
        assert!(is_id || (*kind, bytes.as_slice()) == (1, b"*"), "{place} {kind}");
    }
    let mut edits = Edits::default();
    let which: Vec<u32> = (1..after.key_count()).collect();
    batch.remove_keys(&after, &which, &mut edits, left).expect("can be found again");
    batch.apply(Drops::new(&batch), edits).expect("no conflict");
    batch.settle().expect("still a request");
    assert_eq!(read(&batch, &batch.slice(0..batch.items())).key_count(), 1);
}

#[test]
fn arbitrary_items_do_no_harm() {
    let some =
        b"\x0a\x12\x1a\x4a\x32\x2a\x3a\x5a\x6a\x7a\x38\x42\x08\x10\x18\x21\x00\x01\x02\x03\x04\x05\x06\x09\x80\x0b\x0c";
    let bytes =
        proptest::collection::vec(prop_oneof![5 => proptest::sample::select(some.to_vec()), 1 => any::<u8>()], 0..40);
    for_values(30_000, bytes, |item| {
        let field = |number: u8, payload: &[u8]| [&[number << 3 | 2, payload.len() as u8], payload].concat();
        let request = field(1, &field(2, &field(2, &item)));
        let in_head = field(1, &[field(1, &item), field(2, &field(2, b""))].concat());
        for signal in Signal::ALL {
            check(signal, &request);
            check(signal, &in_head);
            check(signal, &item);
        }
    });
}

#[test]
fn damaged_requests_do_no_harm() {
    for_seeds(300, |rng| {
        let (signal, segments) = requests(rng);
        for bytes in segments.iter().filter(|bytes| !bytes.is_empty()) {
            check(signal, bytes);
            for _ in 0..8 {
                let mut damaged = bytes.to_vec();
                let at = rng.random_range(0..bytes.len());
                match rng.random_range(0..3) {
                    0 => damaged.truncate(at),
                    1 => damaged[at] = rng.random(),
                    _ => damaged[at] ^= 1 << rng.random_range(0..8),
                }
                check(signal, &damaged);
            }
        }
    });
}
