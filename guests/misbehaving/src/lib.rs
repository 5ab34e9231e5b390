//! A component that does what no component should, for tests of the runtime. `behaviour` in its config picks the misdeed.

#![cfg(target_arch = "wasm32")]

mod bindings;

use std::cell::{Cell, RefCell};
use std::hint::black_box;

use bindings::exports::sluicebox::telemetry::{plugin, processor};
use bindings::{Batch, Bucket, Field, Rows, Rule, drop_rows};

/// What an instance remembers.
struct Instance {
    behaviour: String,
    name: Field,
    body: Field,
    /// Repeats a resource's attribute for each name.
    pair: Field,
    rule: Rule,
    /// Of 5 tokens, never filled.
    bucket: Bucket,
    calls: Cell<u32>,
    kept: RefCell<Vec<Rows>>,
    /// Names of the last batch.
    last: RefCell<Vec<u8>>,
}

thread_local! {
    static INSTANCE: RefCell<Option<Instance>> = const { RefCell::new(None) };
}

struct Misbehaving;

impl plugin::Guest for Misbehaving {
    fn configure(config: String) -> Result<(), String> {
        let behaviour = behaviour_of(&config).ok_or("the config has no `behaviour`")?;
        match behaviour.as_str() {
            "configure_trap" => trap(),
            "configure_spin" => spin(),
            "configure_error" => return Err("bad config:\n\u{1b}[31m`behaviour` is wrong".to_owned()),
            "configure_flood" => loop {
                // Errors after the limit cost the host as much as successes.
                let _refused = Field::open(&["span.name".to_owned()]);
            },
            "many_rules" => {
                for n in 0..100 {
                    Rule::open(&format!("rule {n}"))?;
                }
            }
            "same_rule_twice" => {
                Rule::open("twice")?;
                Rule::open("twice")?;
            }
            "rule_in_colour" => drop(Rule::open("\u{1b}[31mred")?),
            "rule_in_two_lines" => drop(Rule::open("one\nERROR forged")?),
            "rule_backwards" => drop(Rule::open("one\u{202e}owt")?),
            "differs" => {
                // What another instance took of the process's memory is the one thing an instance can see of it.
                let path = if grow(512) { "span.kind" } else { "span.status.code" };
                Field::open(&[path.to_owned()])?;
            }
            _ => {}
        }
        let instance = Instance {
            name: Field::open(&["span.name".to_owned()])?,
            body: Field::open(&["log.body".to_owned()])?,
            pair: Field::open(&["span.name".to_owned(), "resource.attributes[\"long\"]".to_owned()])?,
            rule: Rule::open("everything")?,
            bucket: Bucket::open("bucket", 0.0, 5.0)?,
            calls: Cell::new(0),
            kept: RefCell::default(),
            last: RefCell::default(),
            behaviour,
        };
        INSTANCE.set(Some(instance));
        Ok(())
    }
}

impl processor::Guest for Misbehaving {
    fn process(batch: &Batch) -> Result<(), String> {
        INSTANCE.with_borrow(|instance| match instance {
            Some(instance) if instance.behaviour == "noop" => Ok(()),
            // The probe's batch is no traces batch of the tests; misdeeds begin when it is over.
            Some(instance) if is_probe(instance, batch) => misbehave_at_first(&instance.behaviour),
            Some(instance) => misbehave(instance, batch),
            None => Err("process was called before configure".to_owned()),
        })
    }
}

fn misbehave_at_first(behaviour: &str) -> Result<(), String> {
    match behaviour {
        "probe_error" => return Err("the probe displeases me".to_owned()),
        "probe_trap" => trap(),
        "probe_spin" => spin(),
        "probe_allocate" => allocate(),
        _ => {}
    }
    Ok(())
}

fn misbehave(this: &Instance, batch: &Batch) -> Result<(), String> {
    this.calls.set(this.calls.get() + 1);
    match this.behaviour.as_str() {
        "differs" | "many_rules" => {}
        "drop_all" => {
            let rows = batch.where_rows("resource", &[0xff; 64]);
            drop_rows(batch, &rows, &this.rule);
        }
        "take" => take(this, batch),
        "take_and_trap" => {
            take(this, batch);
            trap();
        }
        "take_and_read" => {
            take(this, batch);
            batch.values(&this.name);
        }
        "trap" => trap(),
        "alternate" if this.calls.get().is_multiple_of(2) => trap(),
        "alternate" => {}
        "panic" => panic!("{:?}", batch.values(&this.name).bytes),
        "spin" => spin(),
        "recurse" => {
            black_box(recurse(1));
        }
        "allocate" => allocate(),
        "slow_leak" => std::mem::forget(black_box(vec![1_u8; 64 << 10])),
        "leak" => std::mem::forget(std::hint::black_box(vec![1_u8; 8 << 20])),
        // Texts of one batch come out with the next.
        "quote_the_last_batch" => {
            let last = this.last.replace(batch.values(&this.name).bytes);
            if !last.is_empty() {
                return Err(String::from_utf8_lossy(&last).into_owned());
            }
        }
        "return_error" => return Err(String::from_utf8_lossy(&batch.values(&this.name).bytes).into_owned()),
        "open_late" => {
            Field::open(&["span.kind".to_owned()])?;
        }
        other => return misuse_the_host(this, batch, other),
    }
    Ok(())
}

fn misuse_the_host(this: &Instance, batch: &Batch, behaviour: &str) -> Result<(), String> {
    match behaviour {
        "long_bitmaps" => {
            let ones = vec![0xff; 100_000];
            drop_rows(batch, &batch.where_values(&this.name, &ones), &this.rule);
            drop_rows(batch, &batch.where_rows("span", &ones), &this.rule);
        }
        "repeated_values" => {
            drop_rows(batch, &batch.where_values(&this.pair, &[0xff; 512]), &this.rule);
        }
        "repeated_rows" => {
            let level = batch.where_rows("spanevent", &[0xff]);
            let kept: Vec<Rows> = (0..4000).map(|_| level.not()).collect();
            black_box(kept.len());
        }
        "unknown_level" => {
            batch.len("nonsense");
        }
        "foreign_level" => {
            batch.len("log");
        }
        "foreign_field" => {
            batch.values(&this.body);
        }
        "mixed_levels" => {
            batch.where_rows("span", &[1]).and(&batch.where_rows("resource", &[1]));
        }
        "side_branch" => {
            batch.where_rows("spanevent", &[1]).at("spanlink");
        }
        "bad_utf8" => {
            batch.len(not_utf8());
        }
        "flood" => loop {
            batch.signal();
        },
        "large_output" => {
            batch.where_rows("span", &vec![0; 24 << 20]);
        }
        "much_output" => loop {
            batch.where_rows("span", &vec![0; 1 << 20]);
        },
        "many_row_sets" => {
            let kept: Vec<Rows> = (0..5000).map(|_| batch.where_rows("span", &[1])).collect();
            black_box(kept.len());
        }
        "stale_rows" => {
            for rows in this.kept.borrow().iter() {
                drop_rows(batch, rows, &this.rule);
            }
            this.kept.borrow_mut().push(batch.where_rows("span", &[0xff]));
        }
        "hoard_rows" => {
            let more = (0..2000).map(|_| batch.where_rows("span", &[1]));
            this.kept.borrow_mut().extend(more);
        }
        other => return Err(format!("no behaviour `{other}`")),
    }
    Ok(())
}

/// Drops everything if the bucket has no token left.
fn take(this: &Instance, batch: &Batch) {
    if this.bucket.take(&[1], &[1]) == [0] {
        drop_rows(batch, &batch.where_rows("resource", &[0xff; 64]), &this.rule);
    }
}

fn is_probe(this: &Instance, batch: &Batch) -> bool {
    use bindings::sluicebox::telemetry::fields::Signal;
    batch.signal() != Signal::Traces || batch.values(&this.name).bytes == b"probe"
}

fn behaviour_of(config: &str) -> Option<String> {
    let (_, rest) = config.split_once("\"behaviour\"")?;
    rest.split('"').nth(1).map(str::to_owned)
}

fn trap() -> ! {
    core::arch::wasm32::unreachable()
}

fn allocate() -> ! {
    loop {
        // Never written to: filling it would take longer than the deadline on a slow machine.
        std::mem::forget(black_box(Vec::<u8>::with_capacity(1 << 20)));
    }
}

fn spin() -> ! {
    let mut n = 0_u64;
    loop {
        n = black_box(n.wrapping_add(1));
    }
}

fn recurse(n: u64) -> u64 {
    if n == 0 { 0 } else { recurse(black_box(n + 1)) + 1 }
}

fn grow(pages: usize) -> bool {
    core::arch::wasm32::memory_grow(0, pages) != usize::MAX
}

#[allow(unsafe_code, reason = "text that is not UTF-8 is what this is about; it goes to the host only")]
fn not_utf8() -> &'static str {
    // SAFETY: none, on purpose; nothing in this component looks at the text.
    unsafe { std::str::from_utf8_unchecked(black_box(b"\xff\xfespan")) }
}

#[allow(unsafe_code, reason = "generated")]
mod exports {
    crate::bindings::export!(Misbehaving with_types_in crate::bindings);

    use crate::Misbehaving;
}
