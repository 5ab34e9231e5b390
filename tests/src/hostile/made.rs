//! Components written by hand, for misdeeds that no compiler makes: in a start function, in the allocator that the host calls, by
//! pointers and handles that are wrong.

use anyhow::{Context, Result};

/// What a made component does where it is touched. Empty texts stand for what is right.
#[derive(Clone, Copy, Debug, Default)]
pub struct Made {
    /// Items of its core module: tables, data, functions, a start function.
    items: &'static str,
    /// Memory that it begins with, in pages of 64 KiB; 1 unless set.
    pages: u32,
    /// Tables beside those of its items, of one element each.
    tables: u32,
    /// How often its core module is instantiated beside the first; each has a memory of its own.
    copies: u32,
    /// Instances beside it of a module with nothing in it.
    empties: u32,
    /// The body of the function that the host has memory allocated by.
    realloc: &'static str,
    /// The bodies of its exports, which leave where their result is: 16 is ok.
    configure: &'static str,
    process: &'static str,
    /// What the host calls once it has read what `process` returned.
    post_return: &'static str,
}

/// Where a result lies that says ok: memory is zeros there.
const OK: &str = "(i32.const 16)";
/// Behind all results.
const FREE: &str = "(i32.const 4096)";
/// Never ends.
const SPIN: &str = "(loop $again (br $again)) (unreachable)";
/// Takes memory until there is none, in steps of 1 MiB, and traps.
const GROW_MEMORY: &str =
    "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (unreachable)";
/// The same of the table `$t`.
const GROW_TABLE: &str = "(loop $more (br_if $more (i32.ne (table.grow $t (ref.null func) (i32.const 50000)) (i32.const -1)))) (unreachable)";
/// Calls itself until the stack ends.
const RECURSE: &str = "(func $deeper (param i32) (result i32) (i32.add (i32.const 1) (call $deeper (i32.add (local.get 0) (i32.const 1)))))";
/// An error's text of all that a memory of 64 MiB holds, in zeros.
const HUGE_ERROR: &str = "(func $huge (result i32) (drop (memory.grow (i32.const 900))) (i32.store8 (i32.const 32) (i32.const 1)) \
     (i32.store (i32.const 36) (i32.const 64)) (i32.store (i32.const 40) (i32.const 50000000)) (i32.const 32))";

impl Made {
    /// The component of a behaviour.
    pub fn component(behaviour: &str) -> Result<Vec<u8>> {
        let made = Self::of(behaviour).with_context(|| format!("no behaviour `{behaviour}` is made by hand"))?;
        Ok(wat::parse_str(made.text())?)
    }

    fn of(behaviour: &str) -> Option<Self> {
        let made = Self { pages: 1, ..Self::default() };
        Some(match behaviour {
            "nothing" => made,
            other => Self::instantiating(other, made).or_else(|| Self::called(other, made))?,
        })
    }

    fn instantiating(behaviour: &str, made: Self) -> Option<Self> {
        let started = |items| Self { items, ..made };
        Some(match behaviour {
            "start_spin" => started("(func $start (loop $again (br $again))) (start $start)"),
            "start_trap" => started("(func $start (unreachable)) (start $start)"),
            "start_recurse" => started("(func $start (call $start) (call $start)) (start $start)"),
            "start_grow_memory" => started(
                "(func $start (loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (unreachable)) (start $start)",
            ),
            "start_grow_table" => started(
                "(table $t 1 funcref) (func $start (loop $more (br_if $more (i32.ne (table.grow $t (ref.null func) (i32.const 50000)) \
                 (i32.const -1)))) (unreachable)) (start $start)",
            ),
            "large_memory" => Self { pages: 65_535, ..made },
            "large_table" => started("(table 9000000 funcref)"),
            "many_tables" => Self { tables: 33, ..made },
            "many_memories" => Self { copies: 8, ..made },
            "many_instances" => Self { empties: 200, ..made },
            "data_past_the_end" => started("(data (i32.const 65535) \"too long\")"),
            _ => return None,
        })
    }

    fn called(behaviour: &str, made: Self) -> Option<Self> {
        let (table, configured) = ("(table $t 1 funcref)", |configure| Self { configure, ..made });
        let processed = |process| Self { process, ..made };
        Some(match behaviour {
            "realloc_spin" => Self { realloc: SPIN, ..made },
            "realloc_past_the_end" => Self { realloc: "(i32.const 0xfffff000)", ..made },
            "realloc_trap" => Self { realloc: "(unreachable)", ..made },
            "configure_grow_memory" => configured(GROW_MEMORY),
            "configure_grow_table" => Self { items: table, configure: GROW_TABLE, ..made },
            "configure_recurse" => Self { items: RECURSE, configure: "(call $deeper (i32.const 0))", ..made },
            "configure_result_past_the_end" => configured("(i32.const 0xfffffff0)"),
            "configure_result_not_aligned" => configured("(i32.const 17)"),
            "configure_no_such_case" => configured("(i32.store8 (i32.const 32) (i32.const 7)) (i32.const 32)"),
            "configure_text_past_the_end" => configured(
                "(i32.store8 (i32.const 32) (i32.const 1)) (i32.store (i32.const 36) (i32.const 8)) \
                 (i32.store (i32.const 40) (i32.const 0xffffffff)) (i32.const 32)",
            ),
            "configure_text_not_utf8" => configured(
                "(i32.store8 (i32.const 32) (i32.const 1)) (i32.store8 (i32.const 64) (i32.const 0xff)) \
                 (i32.store (i32.const 36) (i32.const 64)) (i32.store (i32.const 40) (i32.const 1)) (i32.const 32)",
            ),
            "configure_huge_text" => Self { items: HUGE_ERROR, configure: "(call $huge)", ..made },
            "process_huge_text" => {
                Self { items: HUGE_ERROR, process: "(call $drop (local.get 0)) (call $huge)", ..made }
            }
            "process_spin" => processed(SPIN),
            "process_grow_table" => Self { items: table, process: GROW_TABLE, ..made },
            "process_result_past_the_end" => processed("(call $drop (local.get 0)) (i32.const 0xfffffff0)"),
            "process_keeps_the_batch" => processed(OK),
            "process_drops_the_batch_twice" => {
                processed("(call $drop (local.get 0)) (call $drop (local.get 0)) (i32.const 16)")
            }
            "process_drops_what_it_never_had" => processed("(call $drop (i32.const 7777)) (i32.const 16)"),
            "process_post_return_spin" => Self { post_return: SPIN, ..made },
            // Names of functions stand in what is told of a fault.
            "process_trap_in_escapes" => Self {
                items: "(func $\"\\1b[31mred\\0aERROR forged\\u{202e}\" (unreachable))",
                process: "(call $\"\\1b[31mred\\0aERROR forged\\u{202e}\") (i32.const 16)",
                ..made
            },
            _ => return None,
        })
    }

    fn text(&self) -> String {
        let or = |body: &'static str, usual: &'static str| if body.is_empty() { usual } else { body };
        let Self { items, pages, copies, .. } = self;
        let tables = "(table 1 funcref)".repeat(self.tables as usize);
        let copies: String = (0..*copies)
            .map(|n| format!("(core instance $copy{n} (instantiate $m (with \"host\" (instance $host))))\n"))
            .collect();
        let empties = "(core instance (instantiate $empty))".repeat(self.empties as usize);
        let (realloc, configure) = (or(self.realloc, FREE), or(self.configure, OK));
        let process = or(self.process, "(call $drop (local.get 0)) (i32.const 16)");
        let post_return = self.post_return;
        format!(
            r#"(component
                (import "sluicebox:telemetry/batches@0.1.0" (instance $batches (export "batch" (type (sub resource)))))
                (alias export $batches "batch" (type $batch))
                (core func $drop (canon resource.drop $batch))
                (core module $m
                    (import "host" "drop" (func $drop (param i32)))
                    (memory (export "memory") {pages})
                    {tables}
                    {items}
                    (func (export "realloc") (param i32 i32 i32 i32) (result i32) {realloc})
                    (func (export "configure") (param i32 i32) (result i32) {configure})
                    (func (export "process") (param i32) (result i32) {process})
                    (func (export "post") (param i32) {post_return}))
                (core instance $host (export "drop" (func $drop)))
                (core instance $i (instantiate $m (with "host" (instance $host))))
                {copies}
                (core module $empty)
                {empties}
                (alias core export $i "memory" (core memory $memory))
                (alias core export $i "realloc" (core func $realloc))
                (alias core export $i "configure" (core func $configure_core))
                (alias core export $i "process" (core func $process_core))
                (alias core export $i "post" (core func $post))
                (func $configure (param "config" string) (result (result (error string)))
                    (canon lift (core func $configure_core) (memory $memory) (realloc $realloc)))
                (func $process (param "b" (borrow $batch)) (result (result (error string)))
                    (canon lift (core func $process_core) (memory $memory) (realloc $realloc) (post-return $post)))
                (instance $plugin (export "configure" (func $configure)))
                (instance $processor (export "process" (func $process)))
                (export "sluicebox:telemetry/plugin@0.1.0" (instance $plugin))
                (export "sluicebox:telemetry/processor@0.1.0" (instance $processor)))"#
        )
    }
}

/// A component that imports this instance, and is a processor by its outside.
pub fn importing(name: &str) -> Result<Vec<u8>> {
    Ok(wat::parse_str(format!("(component (import \"{name}\" (instance)) {OUTSIDE})"))?)
}

/// A processor by its outside, with this inside.
pub fn outside_of(inside: &str) -> Result<Vec<u8>> {
    Ok(wat::parse_str(format!("(component {inside} {OUTSIDE})"))?)
}

const OUTSIDE: &str = r#"
    (instance $plugin) (export "sluicebox:telemetry/plugin@0.1.0" (instance $plugin))
    (instance $processor) (export "sluicebox:telemetry/processor@0.1.0" (instance $processor))"#;
