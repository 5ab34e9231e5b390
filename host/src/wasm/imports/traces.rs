//! `traces`: what is known of the traces that a policy votes on. Linked by hand, as `batches` is, since the lists are the host's own:
//! one copy of each that is asked for goes into the guest's memory.

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Linker, Lower, Resource, ResourceType};

use super::no_call;
use crate::batch::{Level, RowSet};
use crate::tail::traces::Traces;
use crate::wasm::component::Interface;
use crate::wasm::fault::bad_output;
use crate::wasm::state::{Call, RowsHandle, State, TraceBatchHandle};

type Cx<'a> = StoreContextMut<'a, State>;
type TraceBatch = Resource<TraceBatchHandle>;
type Rows = Resource<RowsHandle>;

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut traces = linker.instance(&Interface::Traces.full_name())?;
    // The host owns the only one there is: a guest can only give borrowed handles back.
    traces.resource("trace-batch", ResourceType::host::<TraceBatchHandle>(), |_, _| Ok(()))?;
    let mut tells = Tells(&mut traces);
    tells.number("len", |traces| traces.len() as u32)?;
    tells.number("now-unix-nano", |traces| traces.now_unix_nano)?;
    tells.list("ids", |traces| traces.ids.as_flattened())?;
    tells.list("randomness", |traces| &traces.randomness)?;
    tells.list("thresholds", |traces| &traces.thresholds)?;
    tells.list("arrivals-unix-nano", |traces| &traces.arrivals_unix_nano)?;
    tells.list("starts-unix-nano", |traces| &traces.starts_unix_nano)?;
    tells.list("ends-unix-nano", |traces| &traces.ends_unix_nano)?;
    tells.list("span-counts", |traces| &traces.span_counts)?;
    tells.list("error-counts", |traces| &traces.error_counts)?;
    tells.list("ok-counts", |traces| &traces.ok_counts)?;
    tells.list("byte-counts", |traces| &traces.byte_counts)?;
    tells.list("marks", |traces| &traces.marks)?;
    tells.list("triggers", |traces| &traces.triggers)?;
    traces.func_wrap("[method]trace-batch.trace-of", |mut cx: Cx, (_,): (TraceBatch,)| trace_of(cx.data_mut()))?;
    traces.func_wrap("[method]trace-batch.where-any", |mut cx: Cx, (_, rows): (TraceBatch, Rows)| {
        where_any(cx.data_mut(), &rows)
    })?;
    traces.func_wrap("[method]trace-batch.counts", |mut cx: Cx, (_, rows): (TraceBatch, Rows)| {
        counts(cx.data_mut(), &rows)
    })?;
    traces.func_wrap("[method]trace-batch.spans-of", |mut cx: Cx, (_, which): (TraceBatch, Vec<u8>)| {
        spans_of(cx.data_mut(), &which)
    })
}

/// Functions that tell what the host has.
struct Tells<'a, 'b>(&'a mut wasmtime::component::LinkerInstance<'b, State>);

impl Tells<'_, '_> {
    fn list<T>(&mut self, name: &str, of: fn(&Traces) -> &[T]) -> wasmtime::Result<()>
    where
        T: Clone + ComponentType + Lower + Send + Sync + 'static,
    {
        self.0.func_wrap(&method(name), move |mut cx: Cx, (_,): (TraceBatch,)| {
            let state = cx.data_mut();
            state.host_call(0)?;
            Ok((of(state.traces()?).to_vec(),))
        })
    }

    fn number<T>(&mut self, name: &str, of: fn(&Traces) -> T) -> wasmtime::Result<()>
    where
        T: ComponentType + Lower + Send + Sync + 'static,
    {
        self.0.func_wrap(&method(name), move |mut cx: Cx, (_,): (TraceBatch,)| {
            let state = cx.data_mut();
            state.host_call(0)?;
            Ok((of(state.traces()?),))
        })
    }
}

fn method(name: &str) -> String {
    format!("[method]trace-batch.{name}")
}

fn trace_of(state: &mut State) -> wasmtime::Result<(Vec<u32>,)> {
    state.host_call(0)?;
    state.traces()?;
    let call = state.call()?;
    Ok((shown(call).to_vec(),))
}

fn where_any(state: &mut State, rows: &Rows) -> wasmtime::Result<(Vec<u8>,)> {
    state.host_call(0)?;
    let traces = state.traces()?.len();
    let State { rows: sets, call: Some(call), .. } = state else { return Err(no_call()) };
    let rows = at_or_below_spans(sets.get(rows.rep())?)?;
    let spans = call.batch.rows_at(&call.slice, rows, Level::Item).ok_or_else(no_call)?;
    let mut bits = vec![0; traces.div_ceil(8)];
    let trace_of = shown(call);
    for trace in spans.iter().filter_map(|span| trace_of.get(span as usize)) {
        if let Some(byte) = bits.get_mut(*trace as usize / 8) {
            *byte |= 1 << (trace % 8);
        }
    }
    Ok((bits,))
}

fn counts(state: &mut State, rows: &Rows) -> wasmtime::Result<(Vec<u32>,)> {
    state.host_call(0)?;
    let traces = state.traces()?.len();
    let State { rows: sets, call: Some(call), .. } = state else { return Err(no_call()) };
    let rows = at_or_below_spans(sets.get(rows.rep())?)?;
    let of_spans = call.batch.counts_at(&call.slice, rows, Level::Item).ok_or_else(no_call)?;
    let mut counts = vec![0_u32; traces];
    for (&trace, of_span) in shown(call).iter().zip(of_spans) {
        if let Some(count) = counts.get_mut(trace as usize) {
            *count = count.saturating_add(of_span);
        }
    }
    Ok((counts,))
}

fn spans_of(state: &mut State, which: &[u8]) -> wasmtime::Result<(Rows,)> {
    state.host_call(which.len())?;
    state.traces()?;
    let rows = RowSet::from_codes(Level::Item, shown(state.call()?), which);
    Ok((state.new_rows(rows)?,))
}

/// The trace of each span that is shown: none of them is where the policy reads none.
fn shown(call: &Call) -> &[u32] {
    let trace_of = call.traces.as_ref().map_or(&[][..], |traces| &traces.trace_of);
    if call.slice.items().is_empty() { &[] } else { trace_of }
}

fn at_or_below_spans(rows: &RowSet) -> wasmtime::Result<&RowSet> {
    match rows.level() {
        Level::Item | Level::Event | Level::Link => Ok(rows),
        _ => Err(bad_output("rows of a level above `span`, which are not of one trace")),
    }
}
