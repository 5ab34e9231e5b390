//! Misdeeds: each makes one call that is right but for one thing.

use crate::bindings::{
    Batch, Field, Key, Rule, Values, contents, insert, remove_keys, rename_keys, replace_leaves, set_rows, set_values,
};
use crate::{Instance, texts};

/// Past any number that a batch of the tests has.
const FAR: u32 = 1 << 20;

pub fn edit(this: &Instance, batch: &Batch, behaviour: &str) -> Result<(), String> {
    match behaviour {
        "leaf_out_of_range" => leaves(this, batch, &[1, FAR], &texts(&["a", "b"])),
        "leaf_twice" => leaves(this, batch, &[1, 1], &texts(&["a", "b"])),
        "too_few_values" => leaves(this, batch, &[1, 2], &texts(&["a"])),
        "too_many_values" => leaves(this, batch, &[1], &texts(&["a", "b"])),
        "list_as_leaf" => leaves(this, batch, &[1], &value(6, &[])),
        // The span's name is of the protocol and holds a text only.
        "number_as_name" => leaves(this, batch, &[name_leaf(batch)], &value(3, &[0; 8])),
        "unread_leaves" => replace_leaves(batch, &[1], &texts(&["a"]), &this.rule),
        "unread_rows" => drop(contents::where_leaves(batch, &[1], "span")),
        "leaf_rows_out_of_range" => {
            contents::read(batch);
            contents::where_leaves(batch, &[FAR], "span");
        }
        "leaf_counts_of_no_level" => {
            contents::read(batch);
            contents::leaf_counts(batch, &[1], "nonsense");
        }
        "key_counts_out_of_range" => {
            contents::read(batch);
            contents::key_counts(batch, &[FAR], "span");
        }
        "key_out_of_range" => {
            contents::read(batch);
            remove_keys(batch, &[FAR], &this.rule);
        }
        "key_twice" => {
            contents::read(batch);
            remove_keys(batch, &[1, 1], &this.rule);
        }
        "key_not_utf8" => {
            contents::read(batch);
            rename_keys(batch, &[1], &value(1, b"\xff"), &this.rule);
        }
        "key_of_bytes" => {
            contents::read(batch);
            rename_keys(batch, &[1], &value(5, b"a"), &this.rule);
        }
        other => fields(this, batch, other)?,
    }
    Ok(())
}

fn fields(this: &Instance, batch: &Batch, behaviour: &str) -> Result<(), String> {
    let all = || batch.where_rows("span", &[0xff; 512]);
    let set = |to: &Values| set_rows(batch, &this.name, &all(), to, &this.rule);
    match behaviour {
        "descending_offsets" => {
            set(&Values { kinds: vec![1, 1], offsets: vec![0, 2, 1], bytes: b"abc".to_vec() });
        }
        "offsets_past_the_end" => set(&Values { kinds: vec![1], offsets: vec![0, 9], bytes: b"abc".to_vec() }),
        "no_offsets" => set(&Values { kinds: vec![1], offsets: vec![], bytes: b"abc".to_vec() }),
        "two_values_for_rows" => set(&texts(&["a", "b"])),
        "not_utf8" => set(&value(1, b"\xff\xfe")),
        "short_int" => set(&value(3, &[0; 7])),
        "bool_of_two" => set(&value(2, &[2])),
        "unknown_kind" => set(&value(9, &[])),
        "list_as_name" => set(&value(6, &[])),
        "bad_any_value" => set_rows(batch, &this.added, &all(), &value(7, b"\x32\x05\x0a"), &this.rule),
        "deep_any_value" => set_rows(batch, &this.added, &all(), &value(6, &deep(100)), &this.rule),
        "rows_of_another_level" => {
            set_rows(batch, &this.name, &batch.where_rows("resource", &[1]), &texts(&["a"]), &this.rule);
        }
        "entry_out_of_range" => set_values(batch, &this.name, &this.name, &[FAR], &texts(&["a"]), &this.rule),
        "entry_twice" => set_values(batch, &this.name, &this.name, &[1, 1], &texts(&["a", "b"]), &this.rule),
        "by_a_level_below" => {
            set_values(batch, &this.of_resource, &this.name, &[1], &texts(&["a"]), &this.rule);
        }
        "read_only_field" => set_rows(batch, &this.route, &all(), &texts(&["a"]), &this.rule),
        "insert_read_only_field" => insert(batch, &this.route, &all(), &texts(&["a"]), &this.rule),
        "open_to_write_late" => drop(Field::open_to_write("span.kind")?),
        "open_key_late" => drop(Key::open("salt")?),
        other => amounts(this, batch, other)?,
    }
    Ok(())
}

fn amounts(this: &Instance, batch: &Batch, behaviour: &str) -> Result<(), String> {
    let all = batch.where_rows("span", &[0xff; 512]);
    let key = || this.key.as_ref().ok_or("no key");
    match behaviour {
        "flood" => loop {
            set_rows(batch, &this.name, &all, &texts(&["a"]), &this.rule);
        },
        "giant_output" => set_rows(batch, &this.name, &all, &texts(&["x".repeat(24 << 20)]), &this.rule),
        // Little is passed and much written.
        "amplify" => set_rows(batch, &this.name, &all, &texts(&["x".repeat(1 << 20)]), &this.rule),
        // Nothing is written, but each removal has to be kept.
        "many_removals" => loop {
            set_rows(batch, &this.name, &all, &value(0, &[]), &this.rule);
        },
        "hash_offsets" => drop(key()?.hmac_sha256(&[0, 9], b"abc")),
        "much_to_hash" => loop {
            key()?.hmac_sha256(&[0, 1 << 20], &vec![0; 1 << 20]);
        },
        // One text in as many pieces as can be passed: hardly any bytes, and a hash for each.
        "many_hashes" => drop(key()?.hmac_sha256(&vec![0; 400_000], &[])),
        other => forged(this, batch, other)?,
    }
    Ok(())
}

#[allow(unsafe_code, reason = "handles that nobody gave are what this is about")]
fn forged(this: &Instance, batch: &Batch, behaviour: &str) -> Result<(), String> {
    let all = batch.where_rows("span", &[0xff; 512]);
    // SAFETY: none, on purpose; they are forgotten, as giving them back would be one more misdeed.
    let (rule, field) = unsafe { (Rule::from_handle(7777), Field::from_handle(7777)) };
    let (rule, field) = (std::mem::ManuallyDrop::new(rule), std::mem::ManuallyDrop::new(field));
    // SAFETY: none, on purpose: it is a field's handle.
    let other = std::mem::ManuallyDrop::new(unsafe { Rule::from_handle(this.name.handle()) });
    match behaviour {
        "forged_rule" => set_rows(batch, &this.name, &all, &texts(&["a"]), &rule),
        "forged_field" => set_rows(batch, &field, &all, &texts(&["a"]), &this.rule),
        "field_as_rule" => set_rows(batch, &this.name, &all, &texts(&["a"]), &other),
        other => return Err(format!("no behaviour `{other}`")),
    }
    Ok(())
}

fn leaves(this: &Instance, batch: &Batch, which: &[u32], to: &Values) {
    contents::read(batch);
    replace_leaves(batch, which, to, &this.rule);
}

/// The leaf of a span's name (place 8).
fn name_leaf(batch: &Batch) -> u32 {
    contents::read(batch).places.iter().position(|&place| place == 8).map_or(0, |leaf| leaf as u32)
}

fn value(kind: u8, bytes: &[u8]) -> Values {
    Values { kinds: vec![kind], offsets: vec![0, bytes.len() as u32], bytes: bytes.to_vec() }
}

/// An AnyValue of a list in a list in a list, so many times.
fn deep(levels: usize) -> Vec<u8> {
    let mut any = vec![0x2a, 0];
    for _ in 0..levels {
        // array_value (5) with one value (1).
        let mut list = vec![0x0a];
        varint(any.len(), &mut list);
        list.extend_from_slice(&any);
        let mut outer = vec![0x2a];
        varint(list.len(), &mut outer);
        outer.extend_from_slice(&list);
        any = outer;
    }
    any
}

fn varint(mut number: usize, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}
