//! A component that edits as no component should, for tests of the runtime. `behaviour` in its config picks the misdeed.

#![cfg(target_arch = "wasm32")]

mod bad;
mod bindings;

use std::cell::{Cell, RefCell};
use std::hint::black_box;

use bindings::exports::sluicebox::telemetry::{plugin, processor};
use bindings::{
    Batch, Field, Key, Leaves, Rule, Signal, Values, contents, insert, insert_values, remove_keys, rename_keys,
    replace_leaves, set_rows, set_values,
};

const STRING: u8 = 1;

/// What an instance remembers.
struct Instance {
    behaviour: String,
    name: Field,
    /// Read only.
    route: Field,
    added: Field,
    of_resource: Field,
    /// `salt`, where the config has it.
    key: Option<Key>,
    rule: Rule,
    calls: Cell<u32>,
}

thread_local! {
    static INSTANCE: RefCell<Option<Instance>> = const { RefCell::new(None) };
}

struct Redactor;

impl plugin::Guest for Redactor {
    fn configure(config: String) -> Result<(), String> {
        let behaviour = behaviour_of(&config).ok_or("the config has no `behaviour`")?;
        match behaviour.as_str() {
            "write_an_id" => drop(Field::open_to_write("span.trace_id")?),
            "unknown_key" => drop(Key::open("pepper")?),
            "many_keys" => {
                for _ in 0..100 {
                    Key::open("salt")?;
                }
            }
            _ => {}
        }
        let instance = Instance {
            name: Field::open_to_write("span.name")?,
            route: Field::open(&["span.attributes[\"route\"]".to_owned()])?,
            added: Field::open_to_write("span.attributes[\"added\"]")?,
            of_resource: Field::open_to_write("resource.attributes[\"team\"]")?,
            key: Key::open("salt").ok(),
            rule: Rule::open("edits")?,
            calls: Cell::new(0),
            behaviour,
        };
        INSTANCE.set(Some(instance));
        Ok(())
    }
}

impl processor::Guest for Redactor {
    fn process(batch: &Batch) -> Result<(), String> {
        INSTANCE.with_borrow(|instance| {
            let this = instance.as_ref().ok_or("process was called before configure")?;
            match this.behaviour.as_str() {
                "mask" => mask(this, batch),
                "trap_on_poison" if mask(this, batch) => trap(),
                "spin_on_poison" if mask(this, batch) => spin(),
                "allocate_on_poison" if mask(this, batch) => allocate(),
                "error_on_poison" if mask(this, batch) => return Err("poison".to_owned()),
                name if name.ends_with("_on_poison") => false,
                // The probe's batch is no traces batch of the tests.
                _ if batch.signal() != Signal::Traces || batch.values(&this.name).bytes == b"probe" => false,
                other => edit(this, batch, other)?,
            };
            Ok(())
        })
    }
}

/// Edits done well; anything else is a misdeed. Returns nothing of interest.
fn edit(this: &Instance, batch: &Batch, behaviour: &str) -> Result<bool, String> {
    this.calls.set(this.calls.get() + 1);
    match behaviour {
        // Each name gets another: its own and an exclamation mark.
        "set" => {
            let names = batch.values(&this.name);
            let which: Vec<u32> = (1..names.kinds.len() as u32).collect();
            let new: Vec<String> = which.iter().map(|&entry| format!("{}!", text(&names, entry))).collect();
            set_values(batch, &this.name, &this.name, &which, &texts(&new), &this.rule);
        }
        // Spans are named by their resource's team.
        "set_by_resource" => {
            let teams = batch.values(&this.of_resource);
            let which: Vec<u32> = (1..teams.kinds.len() as u32).collect();
            let new: Vec<String> = which.iter().map(|&entry| format!("of {}", text(&teams, entry))).collect();
            set_values(batch, &this.name, &this.of_resource, &which, &texts(&new), &this.rule);
        }
        // The first row loses the attribute `added`.
        "remove" => {
            let first = batch.where_rows("span", &[1]);
            set_rows(
                batch,
                &this.added,
                &first,
                &Values { kinds: vec![0], offsets: vec![0, 0], bytes: vec![] },
                &this.rule,
            );
        }
        // All rows get the attribute `added`, where they do not have it.
        "insert" => insert(batch, &this.added, &batch.where_rows("span", &[0xff; 512]), &texts(&["yes"]), &this.rule),
        // Rows without a route get the attribute `added`.
        "insert_by" => insert_values(batch, &this.added, &this.route, &[0], &texts(&["no route"]), &this.rule),
        // Names become their keyed hashes.
        "hash" => {
            let names = batch.values(&this.name);
            let hashes = this.key.as_ref().ok_or("no key")?.hmac_sha256(&names.offsets, &names.bytes);
            let which: Vec<u32> = (1..names.kinds.len() as u32).collect();
            let new: Vec<String> = hashes.chunks(32).skip(1).map(hex).collect();
            set_values(batch, &this.name, &this.name, &which, &texts(&new), &this.rule);
        }
        // The resource gets the number of the call: another one for each slice of a batch.
        "numbered" => {
            let all = batch.where_rows("resource", &[0xff]);
            set_rows(batch, &this.of_resource, &all, &texts(&[this.calls.get().to_string()]), &this.rule);
        }
        // Spans with `secret` in them or below get the attribute `added`; `key` of those with a key `password`.
        "mark_secret" => {
            let rows = contents::where_leaves(batch, &holding(&contents::read(batch), "secret"), "span");
            set_rows(batch, &this.added, &rows, &texts(&["secret"]), &this.rule);
        }
        "mark_password" => {
            let rows = contents::where_keys(batch, &named(&contents::read(batch), "password"), "span");
            set_rows(batch, &this.added, &rows, &texts(&["password"]), &this.rule);
        }
        // Each span is named by how often `secret` and keys `password` are in itself.
        "count" => {
            let leaves = contents::read(batch);
            let secrets = contents::leaf_counts(batch, &holding(&leaves, "secret"), "span");
            let passwords = contents::key_counts(batch, &named(&leaves, "password"), "span");
            for (row, (secrets, passwords)) in secrets.iter().zip(&passwords).enumerate() {
                let mut bitmap = vec![0; row / 8 + 1];
                bitmap[row / 8] = 1 << (row % 8);
                let name = format!("{secrets} and {passwords}");
                set_rows(batch, &this.name, &batch.where_rows("span", &bitmap), &texts(&[name]), &this.rule);
            }
        }
        // Every leaf becomes a text.
        "replace_all" => {
            let which: Vec<u32> = (1..contents::read(batch).places.len() as u32).collect();
            replace_leaves(batch, &which, &texts(&vec!["x"; which.len()]), &this.rule);
        }
        other => bad::edit(this, batch, other)?,
    }
    Ok(false)
}

/// Redacts, and says whether any text holds `poison`.
fn mask(this: &Instance, batch: &Batch) -> bool {
    let leaves = contents::read(batch);
    let secret = holding(&leaves, "secret");
    let masked: Vec<String> = secret.iter().map(|&leaf| text(&leaves.data, leaf).replace("secret", "***")).collect();
    replace_leaves(batch, &secret, &texts(&masked), &this.rule);
    remove_keys(batch, &named(&leaves, "password"), &this.rule);
    let old = named(&leaves, "old");
    rename_keys(batch, &old, &texts(&vec!["new"; old.len()]), &this.rule);
    !holding(&leaves, "poison").is_empty()
}

/// Leaves that are texts with this in them.
fn holding(leaves: &Leaves, part: &str) -> Vec<u32> {
    let data = &leaves.data;
    let of_kind = |leaf: &u32| data.kinds[*leaf as usize] == STRING;
    (0..data.kinds.len() as u32).filter(of_kind).filter(|&leaf| text(data, leaf).contains(part)).collect()
}

/// Keys of this name, in all places.
fn named(leaves: &Leaves, name: &str) -> Vec<u32> {
    (0..leaves.keys.kinds.len() as u32).filter(|&key| text(&leaves.keys, key) == name).collect()
}

fn text(values: &Values, entry: u32) -> &str {
    let at = entry as usize;
    let bytes = &values.bytes[values.offsets[at] as usize..values.offsets[at + 1] as usize];
    std::str::from_utf8(bytes).unwrap_or_default()
}

fn texts(all: &[impl AsRef<str>]) -> Values {
    let mut values = Values { kinds: vec![STRING; all.len()], offsets: vec![0], bytes: Vec::new() };
    for text in all {
        values.bytes.extend_from_slice(text.as_ref().as_bytes());
        values.offsets.push(values.bytes.len() as u32);
    }
    values
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn behaviour_of(config: &str) -> Option<String> {
    let (_, rest) = config.split_once("\"behaviour\"")?;
    rest.split('"').nth(1).map(str::to_owned)
}

fn trap() -> ! {
    core::arch::wasm32::unreachable()
}

fn spin() -> ! {
    let mut n = 0_u64;
    loop {
        n = black_box(n.wrapping_add(1));
    }
}

fn allocate() -> ! {
    loop {
        std::mem::forget(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}

#[allow(unsafe_code, reason = "generated")]
mod exports {
    crate::bindings::export!(Redactor with_types_in crate::bindings);

    use crate::Redactor;
}
