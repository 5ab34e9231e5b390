//! `contents`: reading everything that can hold text. Linked by hand, as `batches` is and for its reason: it is most of what a redactor
//! is given.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};

use super::no_call;
use crate::batch::{Contents, Level, RowSet, Slice};
use crate::signal::Signal;
use crate::wasm::bindings::Leaves;
use crate::wasm::component::Interface;
use crate::wasm::fault::{Misuse, bad_output};
use crate::wasm::state::{BatchHandle, Call, RowsHandle, State, too_large};

type Cx<'a> = StoreContextMut<'a, State>;
type Batch = Resource<BatchHandle>;
type Rows = Resource<RowsHandle>;
/// Numbers of leaves or keys, and the name of a level.
type Asked = (Batch, Vec<u32>, String);

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut contents = linker.instance(&Interface::Contents.full_name())?;
    contents.func_wrap("read", |mut cx: Cx, (_,): (Batch,)| read(cx.data_mut()))?;
    contents.func_wrap("where-leaves", |mut cx: Cx, (_, which, level): Asked| {
        rows_with(cx.data_mut(), Of::Leaves, &which, &level, Contents::where_leaves)
    })?;
    contents.func_wrap("where-keys", |mut cx: Cx, (_, which, level): Asked| {
        rows_with(cx.data_mut(), Of::Keys, &which, &level, Contents::where_keys)
    })?;
    contents.func_wrap("leaf-counts", |mut cx: Cx, (_, which, level): Asked| {
        ask(cx.data_mut(), Of::Leaves, &which, &level, Contents::leaf_counts).map(|counts| (counts,))
    })?;
    contents.func_wrap("key-counts", |mut cx: Cx, (_, which, level): Asked| {
        ask(cx.data_mut(), Of::Keys, &which, &level, Contents::key_counts).map(|counts| (counts,))
    })
}

/// What numbers count.
#[derive(Clone, Copy, Debug)]
pub(super) enum Of {
    Leaves,
    Keys,
}

impl Of {
    /// An error unless all of these are there. Repeated ones are allowed.
    pub(super) fn check(self, contents: &Contents, which: &[u32]) -> wasmtime::Result<()> {
        if which.iter().all(|&number| number < self.count(contents)) {
            return Ok(());
        }
        Err(bad_output(match self {
            Of::Leaves => "a leaf that there is not",
            Of::Keys => "a key that there is not",
        }))
    }

    pub(super) fn count(self, contents: &Contents) -> u32 {
        match self {
            Of::Leaves => contents.leaf_count(),
            Of::Keys => contents.key_count(),
        }
    }
}

fn read(state: &mut State) -> wasmtime::Result<(Arc<Leaves>,)> {
    state.host_call(0)?;
    let State { contents, call: Some(Call { batch, slice, reading, .. }), .. } = state else { return Err(no_call()) };
    if batch.signal() == Signal::Traces {
        for level in [Level::Event, Level::Link] {
            batch.ensure(level).map_err(|malformed| Misuse::Unreadable(malformed.to_string()))?;
        }
    }
    Ok((Arc::clone(contents.read(batch, slice, reading).map_err(|_| too_large())?),))
}

fn rows_with(
    state: &mut State,
    of: Of,
    which: &[u32],
    level: &str,
    find: fn(&Contents, &crate::batch::Batch, &Slice, &[u32], Level) -> RowSet,
) -> wasmtime::Result<(Rows,)> {
    let rows = ask(state, of, which, level, find)?;
    Ok((state.new_rows(rows)?,))
}

fn ask<R>(
    state: &mut State,
    of: Of,
    which: &[u32],
    level: &str,
    find: fn(&Contents, &crate::batch::Batch, &Slice, &[u32], Level) -> R,
) -> wasmtime::Result<R> {
    state.host_call(size_of_val(which))?;
    let level = state.level(level)?;
    let State { contents, call: Some(Call { batch, slice, .. }), .. } = state else { return Err(no_call()) };
    let contents = contents.get().ok_or_else(unread)?;
    of.check(contents, which)?;
    Ok(find(contents, batch, slice, which, level))
}

/// Numbers of leaves and keys are those of the call that they were read in.
pub(super) fn unread() -> wasmtime::Error {
    bad_output("leaves or keys were named that were not read in this call")
}
