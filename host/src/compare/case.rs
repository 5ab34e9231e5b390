//! Cases: an input of a stage and what is expected of it. Taps save them, `try` reads them, components carry lists of them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Change, Unreadable, changes, records};
use crate::json::{self, JsonError, ProtobufError};
use crate::signal::Signal;

/// Largest file with one case.
pub const CASE_BYTES_MAX: usize = 64 << 20;
/// Largest list of cases in a component.
pub const LIST_BYTES_MAX: usize = 256 << 10;
/// Most cases of a list.
pub const CASES_MAX: usize = 64;
/// Most mismatches that are told of one case.
pub const MISMATCHES_MAX: usize = 32;
/// The format below.
const VERSION: u32 = 1;

/// A case. Its requests can be decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// What it shows, for people.
    pub name: Option<String>,
    /// The signal of its requests.
    pub signal: Signal,
    /// The stage that it was taken from or is meant for.
    pub stage: Option<String>,
    /// The stage's configuration then.
    pub config: Option<Value>,
    /// An OTLP request, as protobuf.
    pub input: Bytes,
    /// What is left of it, as protobuf; None where nothing is expected.
    pub expected: Option<Bytes>,
}

/// What is not as a case expects.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Mismatch {
    /// More or fewer records; which field differs where is not told then.
    Records {
        /// So many should be left.
        expected: usize,
        /// So many are.
        found: usize,
    },
    /// A field of a record.
    Field {
        /// Its number among those that are left, from 0.
        record: usize,
        /// `before` is what was expected, `after` what was found.
        change: Change,
    },
}

/// A file is not a case. The texts may quote the file.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// More bytes than [`CASE_BYTES_MAX`] or [`LIST_BYTES_MAX`].
    #[error("{bytes} bytes, of which at most {bytes_max} are read")]
    TooLarge {
        /// So many there are.
        bytes: usize,
        /// So many there may be.
        bytes_max: usize,
    },
    /// Not JSON, or not with a case's keys. It says at which line and column.
    #[error("not a case: {0}")]
    Json(serde_json::Error),
    /// Of a later version.
    #[error("`sluicebox_case` is {0}, and this version reads {VERSION}")]
    Version(u32),
    /// `signal` is none.
    #[error("`signal` must be traces, metrics or logs, not {0:?}")]
    Signal(String),
    /// `input` or `expected` is not an OTLP request of the signal.
    #[error("`{key}` is not an OTLP request of {signal}: {what}")]
    Request {
        /// `input` or `expected`.
        key: &'static str,
        /// The case's.
        signal: Signal,
        /// Where and what should be there.
        what: String,
    },
    /// A list of more than [`CASES_MAX`].
    #[error("{0} cases, of which there may be {CASES_MAX}")]
    TooMany(usize),
    /// One of a list.
    #[error("case {number}{}: {error}", .name.as_ref().map(|name| format!(" ({name:?})")).unwrap_or_default())]
    OfList {
        /// From 1.
        number: usize,
        /// Its name.
        name: Option<String>,
        /// What is wrong with it.
        error: Box<CaseError>,
    },
}

/// A case as its file has it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    sluicebox_case: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    signal: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stage: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config: Option<Value>,
    input: Value,
    #[serde(default)]
    expected: Option<Value>,
}

impl Case {
    /// Reads a file with one case.
    ///
    /// # Errors
    /// See [`CaseError`].
    pub fn parse(text: &[u8]) -> Result<Case, CaseError> {
        check_size(text, CASE_BYTES_MAX)?;
        Case::of(serde_json::from_slice(text).map_err(CaseError::Json)?)
    }

    /// Reads a JSON list of cases, as components carry them.
    ///
    /// # Errors
    /// See [`CaseError`].
    pub fn parse_list(text: &[u8]) -> Result<Vec<Case>, CaseError> {
        check_size(text, LIST_BYTES_MAX)?;
        let files: Vec<File> = serde_json::from_slice(text).map_err(CaseError::Json)?;
        if files.len() > CASES_MAX {
            return Err(CaseError::TooMany(files.len()));
        }
        let of_list = |(number, file): (usize, File)| {
            let name = file.name.clone();
            Case::of(file).map_err(|error| CaseError::OfList { number, name, error: Box::new(error) })
        };
        (1..).zip(files).map(of_list).collect()
    }

    /// Whether a text looks like a case, rather than like bare OTLP/JSON: it is an object that says so.
    pub fn is_case(value: &Value) -> bool {
        value.get("sluicebox_case").is_some()
    }

    /// The file's text, for people to read and change.
    ///
    /// # Errors
    /// Where a request cannot be written as JSON.
    pub fn to_json(&self) -> Result<String, ProtobufError> {
        let file = File {
            sluicebox_case: VERSION,
            name: self.name.clone(),
            signal: self.signal.as_str().to_owned(),
            stage: self.stage.clone(),
            config: self.config.clone(),
            input: request_json(self.signal, &self.input)?,
            expected: self.expected.as_ref().map(|body| request_json(self.signal, body)).transpose()?,
        };
        let mut text = serde_json::to_string_pretty(&file).map_err(|_| ProtobufError::Malformed)?;
        text.push('\n');
        Ok(text)
    }

    /// What is not as expected of requests that are left, at most [`MISMATCHES_MAX`]. Records are compared, in their order: whether what
    /// stands above them is written once or many times does not count.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub fn mismatches(&self, left: &[Bytes]) -> Result<Vec<Mismatch>, Unreadable> {
        let Some(expected) = &self.expected else { return Ok(Vec::new()) };
        let expected = records(self.signal, std::slice::from_ref(expected))?;
        let found = records(self.signal, left)?;
        if expected.len() != found.len() {
            return Ok(vec![Mismatch::Records { expected: expected.len(), found: found.len() }]);
        }
        let mismatches = expected.iter().zip(&found).enumerate().flat_map(|(record, (expected, found))| {
            let changes = changes(expected, found).into_iter();
            changes.map(move |change| Mismatch::Field { record, change: change.to_change() })
        });
        Ok(mismatches.take(MISMATCHES_MAX).collect())
    }

    fn of(file: File) -> Result<Case, CaseError> {
        let File { sluicebox_case, name, signal, stage, config, input, expected } = file;
        if sluicebox_case != VERSION {
            return Err(CaseError::Version(sluicebox_case));
        }
        let known = Signal::ALL.into_iter().find(|known| known.as_str() == signal);
        let signal = known.ok_or(CaseError::Signal(signal))?;
        let input = request(signal, "input", &input)?;
        let expected = expected.map(|expected| request(signal, "expected", &expected)).transpose()?;
        Ok(Case { name, signal, stage, config, input, expected })
    }
}

fn check_size(text: &[u8], bytes_max: usize) -> Result<(), CaseError> {
    if text.len() > bytes_max {
        return Err(CaseError::TooLarge { bytes: text.len(), bytes_max });
    }
    Ok(())
}

/// Lines of the JSON that is written in between would mislead, so only the path is told.
fn request(signal: Signal, key: &'static str, value: &Value) -> Result<Bytes, CaseError> {
    let refused = |what| CaseError::Request { key, signal, what };
    let text = serde_json::to_vec(value).map_err(|error| refused(error.to_string()))?;
    let body = json::to_protobuf(signal, &text).map_err(|error| {
        refused(match error {
            JsonError::Unexpected { path, expected, .. } => format!("{path} must be {expected}"),
            JsonError::Syntax { .. } => "it is not JSON".to_owned(),
            JsonError::NoRoom => error.to_string(),
        })
    })?;
    Ok(body.into())
}

fn request_json(signal: Signal, body: &[u8]) -> Result<Value, ProtobufError> {
    let text = json::to_json(signal, body)?;
    let mut deserializer = serde_json::Deserializer::from_slice(&text);
    deserializer.disable_recursion_limit();
    Value::deserialize(&mut deserializer).map_err(|_| ProtobufError::Malformed)
}
