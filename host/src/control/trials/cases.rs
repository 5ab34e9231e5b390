//! A component's own cases: what its author says that it makes of some requests. A candidate that does not is refused.

use std::sync::Arc;

use crate::compare::case::{Case, Mismatch};
use crate::pipeline::aside::Aside;
use crate::pipeline::stage::Generation;

/// What differs in a case that is told.
const TOLD_MAX: usize = 4;

/// What a candidate does not make as its own cases say; how many there are. Takes as long as its calls may.
pub(super) fn run(candidate: &Arc<dyn Generation>) -> Result<usize, String> {
    let Some(text) = candidate.cases() else { return Ok(0) };
    let cases = Case::parse_list(text).map_err(|error| format!("its cases cannot be read: {error}"))?;
    for (number, case) in (1..).zip(&cases) {
        let name = case.name.clone().unwrap_or_else(|| number.to_string());
        run_one(candidate, case).map_err(|what| format!("its case {name:?} {what}"))?;
    }
    Ok(cases.len())
}

fn run_one(candidate: &Arc<dyn Generation>, case: &Case) -> Result<(), String> {
    let config = case.config.as_ref().map(ToString::to_string);
    let apart = candidate.apart(config.as_deref()).map_err(|fault| format!("cannot be run: {fault}"))?;
    let made = Aside::new(apart).judge(case.signal, std::slice::from_ref(&case.input));
    let made = made.map_err(|fault| format!("faults: {fault}"))?;
    let bodies: Vec<_> = made.bodies.into_iter().filter(|body| !body.is_empty()).collect();
    let mismatches = case.mismatches(&bodies).map_err(|error| format!("cannot be compared: {error}"))?;
    if mismatches.is_empty() {
        return Ok(());
    }
    let told: Vec<_> = mismatches.iter().take(TOLD_MAX).map(tell).collect();
    let more = mismatches.len().saturating_sub(told.len());
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    Err(format!("expects something else: {}{more}", told.join("; ")))
}

/// Cases are the component's, and no telemetry: values may be told.
fn tell(mismatch: &Mismatch) -> String {
    let value = |value: &Option<serde_json::Value>| value.as_ref().map_or("nothing".to_owned(), ToString::to_string);
    match mismatch {
        Mismatch::Records { expected, found } => format!("{expected} records, and {found} are left"),
        Mismatch::Field { record, change } => {
            let (expected, found) = (value(&change.before), value(&change.after));
            format!("{} of record {record} is {found}, not {expected}", change.path)
        }
    }
}
