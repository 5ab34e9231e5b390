//! What is tried: OTLP/JSON requests, one after the other, or a saved case.

use bytes::Bytes;
use serde_json::Value;

use crate::compare::case::{CASE_BYTES_MAX, Case, CaseError};
use crate::json::{self, JsonError};
use crate::signal::Signal;

/// Most bytes of all requests together, as protobuf.
pub const INPUT_BYTES_MAX: usize = 8 << 20;
/// Most requests.
pub const REQUESTS_MAX: usize = 10_000;

/// Requests of one signal.
#[derive(Clone, Debug)]
pub struct Input {
    /// Theirs.
    pub signal: Signal,
    /// As protobuf.
    pub requests: Vec<Bytes>,
    /// Where they come from a case, what is expected.
    pub case: Option<Case>,
}

/// A text is no input. Only who gave it may see these texts: they may quote it.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// No text.
    #[error("the input is empty")]
    Empty,
    /// More than is tried.
    #[error("the input is larger than is tried: at most {REQUESTS_MAX} requests of {} MiB as protobuf", INPUT_BYTES_MAX >> 20)]
    TooLarge,
    /// Not JSON.
    #[error("the input is not JSON: {0}")]
    Json(serde_json::Error),
    /// JSON, but not OTLP.
    #[error("the input is not OTLP: {0}")]
    Otlp(JsonError),
    /// Which signal it is cannot be seen.
    #[error("the input has none of \"resourceSpans\", \"resourceLogs\" and \"resourceMetrics\"")]
    NoSignal,
    /// Not of one signal.
    #[error("the input is {found}, and {wanted} were to come")]
    Signal {
        /// What it is.
        found: Signal,
        /// What it should be.
        wanted: Signal,
    },
    /// A case that is none.
    #[error(transparent)]
    Case(CaseError),
    /// A case among other things.
    #[error("a case is tried alone")]
    CaseAmongOthers,
}

impl Input {
    /// Reads a text of requests that follow each other, one on a line or over many lines; or of one case. `signal` is what it has to be, if
    /// that is known.
    ///
    /// # Errors
    /// See [`InputError`].
    pub fn parse(text: &[u8], signal: Option<Signal>) -> Result<Input, InputError> {
        if text.len() > CASE_BYTES_MAX {
            return Err(InputError::TooLarge);
        }
        let (mut signal, mut requests, mut bytes) = (signal, Vec::new(), 0);
        let mut values = serde_json::Deserializer::from_slice(text).into_iter::<Value>();
        loop {
            let start = values.byte_offset();
            let Some(value) = values.next() else { break };
            let value = value.map_err(InputError::Json)?;
            let of_value = text.get(start..values.byte_offset()).unwrap_or_default();
            if Case::is_case(&value) {
                let is_alone = requests.is_empty() && values.next().is_none();
                return if is_alone { Input::of_case(of_value, signal) } else { Err(InputError::CaseAmongOthers) };
            }
            let of_request = signal_of(&value).or(signal).ok_or(InputError::NoSignal)?;
            let wanted = *signal.get_or_insert(of_request);
            if of_request != wanted {
                return Err(InputError::Signal { found: of_request, wanted });
            }
            let request = json::to_protobuf(wanted, of_value)
                .map_err(|error| InputError::Otlp(moved(error, text.get(..start).unwrap_or_default())))?;
            bytes += request.len();
            requests.push(Bytes::from(request));
            if requests.len() > REQUESTS_MAX || bytes > INPUT_BYTES_MAX {
                return Err(InputError::TooLarge);
            }
        }
        match signal {
            Some(signal) if !requests.is_empty() => Ok(Input { signal, requests, case: None }),
            _ => Err(InputError::Empty),
        }
    }

    fn of_case(text: &[u8], wanted: Option<Signal>) -> Result<Input, InputError> {
        let case = Case::parse(text).map_err(InputError::Case)?;
        if case.input.len() > INPUT_BYTES_MAX {
            return Err(InputError::TooLarge);
        }
        match wanted {
            Some(wanted) if wanted != case.signal => Err(InputError::Signal { found: case.signal, wanted }),
            _ => Ok(Input { signal: case.signal, requests: vec![case.input.clone()], case: Some(case) }),
        }
    }
}

fn signal_of(request: &Value) -> Option<Signal> {
    let has = |names: [&str; 2]| names.iter().any(|name| request.get(name).is_some());
    Signal::ALL.into_iter().find(|signal| {
        has(match signal {
            Signal::Traces => ["resourceSpans", "resource_spans"],
            Signal::Metrics => ["resourceMetrics", "resource_metrics"],
            Signal::Logs => ["resourceLogs", "resource_logs"],
        })
    })
}

/// The same error of a text that stands behind another one.
fn moved(error: JsonError, before: &[u8]) -> JsonError {
    let lines = before.iter().filter(|&&byte| byte == b'\n').count();
    let last = before.iter().rev().take_while(|&&byte| byte != b'\n').count();
    let at = |line: usize, column: usize| (line + lines, if line == 1 { column + last } else { column });
    match error {
        JsonError::Syntax { line, column } => {
            let (line, column) = at(line, column);
            JsonError::Syntax { line, column }
        }
        JsonError::Unexpected { path, expected, line, column } => {
            let (line, column) = at(line, column);
            JsonError::Unexpected { path, expected, line, column }
        }
        JsonError::NoRoom => JsonError::NoRoom,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityText":"a"}]}]}]}"#;
    const SPAN: &str = r#"{"resource_spans":[{"scope_spans":[{"spans":[{"name":"a"}]}]}]}"#;

    fn said(text: &str, signal: Option<Signal>) -> String {
        Input::parse(text.as_bytes(), signal).expect_err(text).to_string()
    }

    #[test]
    fn requests_follow_each_other_in_any_layout() {
        for text in [LOG.to_owned(), format!("{LOG}\n{LOG}\n"), format!("{LOG} {LOG}"), format!("\n\n{LOG}\n\n{LOG}")] {
            let input = Input::parse(text.as_bytes(), None).expect("logs");
            assert_eq!(input.signal, Signal::Logs);
            assert_eq!(input.requests.len(), text.matches("resourceLogs").count());
            let alone = json::to_protobuf(Signal::Logs, LOG.as_bytes()).expect("logs");
            assert!(input.requests.iter().all(|request| *request == alone));
        }
        assert_eq!(Input::parse(SPAN.as_bytes(), None).expect("spans").signal, Signal::Traces);
        assert_eq!(Input::parse(b"{}", Some(Signal::Metrics)).expect("nothing of it").requests, [Bytes::new()]);
    }

    #[test]
    fn what_is_no_input_is_told_with_its_place() {
        assert_eq!(said("", None), "the input is empty");
        assert_eq!(said("  \n", Some(Signal::Logs)), "the input is empty");
        assert!(said("{\n\"a\": nope}", None).contains("line 2 column"), "{}", said("{\n\"a\": nope}", None));
        assert!(said("{}", None).contains("none of"));
        assert_eq!(said(LOG, Some(Signal::Traces)), "the input is logs, and traces were to come");
        assert_eq!(said(&format!("{LOG}\n{SPAN}"), None), "the input is traces, and logs were to come");
        let wrong = LOG.replace("\"a\"", "5");
        let alone = said(&wrong, None);
        assert!(alone.contains("severityText must be a string in UTF-8 (line 1,"), "{alone}");
        let behind = said(&format!("{LOG}\n\n{wrong}"), None);
        assert_eq!(behind, alone.replace("line 1", "line 3"));
    }

    #[test]
    fn cases_are_read_and_stand_alone() {
        let case = format!(r#"{{"sluicebox_case":1,"signal":"logs","input":{LOG},"expected":{{}}}}"#);
        let input = Input::parse(case.as_bytes(), None).expect("a case");
        assert_eq!((input.signal, input.requests.len()), (Signal::Logs, 1));
        assert!(input.case.is_some_and(|case| case.expected == Some(Bytes::new())));
        assert_eq!(said(&case, Some(Signal::Traces)), "the input is logs, and traces were to come");
        assert_eq!(said(&format!("{LOG}{case}"), None), "a case is tried alone");
        assert_eq!(said(&format!("{case}{LOG}"), None), "a case is tried alone");
        assert!(said(&case.replace("_case\":1", "_case\":3"), None).contains("`sluicebox_case` is 3"));
    }

    #[test]
    fn inputs_are_bounded() {
        let many = format!("{LOG}\n").repeat(REQUESTS_MAX + 1);
        assert!(said(&many, None).starts_with("the input is larger"), "{}", said(&many, None));
        let long = LOG.replace("\"a\"", &format!("{:?}", "x".repeat(INPUT_BYTES_MAX)));
        assert!(said(&long, None).starts_with("the input is larger"));
    }
}
