//! `batches`: reading a batch. Linked by hand and not through the generated trait, so that columns go from the buffers they were read
//! into straight into the guest's memory.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};

use super::no_call;
use crate::batch::{Level, RowSet};
use crate::signal::Signal;
use crate::wasm::bindings::{self, Values};
use crate::wasm::component::Interface;
use crate::wasm::fault::bad_output;
use crate::wasm::state::{BatchHandle, Call, FieldHandle, RowsHandle, State, too_large};

type Cx<'a> = StoreContextMut<'a, State>;
type Rows = Resource<RowsHandle>;
type Batch = Resource<BatchHandle>;
type Field = Resource<FieldHandle>;

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut batches = linker.instance(&Interface::Batches.full_name())?;
    batches.resource("rows", ResourceType::host::<RowsHandle>(), |mut cx, handle| {
        let state = cx.data_mut();
        state.drop_rows(handle);
        state.host_call(0)
    })?;
    // The host owns the only batch there is: a guest can only give borrowed handles back.
    batches.resource("batch", ResourceType::host::<BatchHandle>(), |_, _| Ok(()))?;

    batches.func_wrap("[method]rows.and", |mut cx: Cx, (a, b): (Rows, Rows)| {
        combine(cx.data_mut(), &a, &b, RowSet::and)
    })?;
    batches
        .func_wrap("[method]rows.or", |mut cx: Cx, (a, b): (Rows, Rows)| combine(cx.data_mut(), &a, &b, RowSet::or))?;
    batches.func_wrap("[method]rows.not", |mut cx: Cx, (rows,): (Rows,)| not(cx.data_mut(), &rows))?;
    batches
        .func_wrap("[method]rows.at", |mut cx: Cx, (rows, level): (Rows, String)| at(cx.data_mut(), &rows, &level))?;
    batches.func_wrap("[method]rows.count", |mut cx: Cx, (rows,): (Rows,)| count(cx.data_mut(), &rows))?;

    batches.func_wrap("[method]batch.signal", |mut cx: Cx, (_,): (Batch,)| signal(cx.data_mut()))?;
    batches.func_wrap("[method]batch.len", |mut cx: Cx, (_, level): (Batch, String)| len(cx.data_mut(), &level))?;
    batches
        .func_wrap("[method]batch.values", |mut cx: Cx, (_, field): (Batch, Field)| values(cx.data_mut(), &field))?;
    batches.func_wrap("[method]batch.codes", |mut cx: Cx, (_, field): (Batch, Field)| codes(cx.data_mut(), &field))?;
    batches.func_wrap("[method]batch.where-values", |mut cx: Cx, (_, field, which): (Batch, Field, Vec<u8>)| {
        where_values(cx.data_mut(), &field, &which)
    })?;
    batches.func_wrap("[method]batch.where-rows", |mut cx: Cx, (_, level, which): (Batch, String, Vec<u8>)| {
        where_rows(cx.data_mut(), &level, &which)
    })?;
    Ok(())
}

fn values(state: &mut State, field: &Field) -> wasmtime::Result<(Arc<Values>,)> {
    state.host_call(0)?;
    state.field(field.rep())?;
    let State { columns, call: Some(Call { batch, slice, reading, .. }), .. } = state else { return Err(no_call()) };
    let column = columns.column(field.rep() as usize, batch, slice, reading).map_err(|_| too_large())?;
    Ok((Arc::clone(column.ok_or_else(no_call)?.0),))
}

fn codes(state: &mut State, field: &Field) -> wasmtime::Result<(Arc<Vec<u32>>,)> {
    state.host_call(0)?;
    state.field(field.rep())?;
    Ok((Arc::clone(read_codes(state, field)?),))
}

fn where_values(state: &mut State, field: &Field, which: &[u8]) -> wasmtime::Result<(Rows,)> {
    state.host_call(which.len())?;
    let level = state.field(field.rep())?.level();
    let rows = RowSet::from_codes(level, read_codes(state, field)?, which);
    Ok((state.new_rows(rows)?,))
}

fn read_codes<'a>(state: &'a mut State, field: &Field) -> wasmtime::Result<&'a Arc<Vec<u32>>> {
    let State { columns, call: Some(Call { batch, slice, reading, .. }), .. } = state else { return Err(no_call()) };
    let column = columns.column(field.rep() as usize, batch, slice, reading).map_err(|_| too_large())?;
    Ok(column.ok_or_else(no_call)?.1)
}

fn where_rows(state: &mut State, level: &str, which: &[u8]) -> wasmtime::Result<(Rows,)> {
    state.host_call(which.len())?;
    let level = state.level(level)?;
    let call = state.call()?;
    let rows = RowSet::from_bitmap(level, call.batch.rows(&call.slice, level), which);
    Ok((state.new_rows(rows)?,))
}

fn signal(state: &mut State) -> wasmtime::Result<(bindings::Signal,)> {
    state.host_call(0)?;
    let signal = match state.call()?.batch.signal() {
        Signal::Traces => bindings::Signal::Traces,
        Signal::Metrics => bindings::Signal::Metrics,
        Signal::Logs => bindings::Signal::Logs,
    };
    Ok((signal,))
}

fn len(state: &mut State, level: &str) -> wasmtime::Result<(u32,)> {
    state.host_call(0)?;
    let level = state.level(level)?;
    let call = state.call()?;
    Ok((call.batch.rows(&call.slice, level),))
}

fn combine(
    state: &mut State,
    a: &Rows,
    b: &Rows,
    operation: impl Fn(&RowSet, &RowSet) -> Option<RowSet>,
) -> wasmtime::Result<(Rows,)> {
    state.host_call(0)?;
    let rows = operation(state.rows.get(a.rep())?, state.rows.get(b.rep())?)
        .ok_or_else(|| bad_output("row sets of different levels were combined"))?;
    Ok((state.new_rows(rows)?,))
}

fn not(state: &mut State, rows: &Rows) -> wasmtime::Result<(Rows,)> {
    state.host_call(0)?;
    let rows = state.rows.get(rows.rep())?.not();
    Ok((state.new_rows(rows)?,))
}

fn at(state: &mut State, rows: &Rows, level: &str) -> wasmtime::Result<(Rows,)> {
    state.host_call(0)?;
    let level = state.level(level)?;
    let State { rows: sets, call: Some(call), .. } = state else { return Err(no_call()) };
    let rows = sets.get(rows.rep())?;
    let beside = || bad_output("a level that is not above or below the row set's");
    // Whatever the rows, so that it does not depend on the data whether a guest faults.
    if matches!((rows.level(), level), (Level::Event, Level::Link) | (Level::Link, Level::Event)) {
        return Err(beside());
    }
    let rows = call.batch.rows_at(&call.slice, rows, level).ok_or_else(beside)?;
    Ok((state.new_rows(rows)?,))
}

fn count(state: &mut State, rows: &Rows) -> wasmtime::Result<(u32,)> {
    state.host_call(0)?;
    Ok((state.rows.get(rows.rep())?.count(),))
}
