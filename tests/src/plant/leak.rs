//! Looks for secrets in whatever form they may have come out.

use std::path::Path;

use aho_corasick::{AhoCorasick, MatchKind};
use anyhow::Result;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use prost::encoding::encode_varint;

use super::Secret;

/// Text may be percent-encoded so many times.
const DECODINGS: usize = 3;
/// Letters of the surroundings that are shown.
const CONTEXT: usize = 40;

/// All forms of some secrets.
#[derive(Debug)]
pub struct Leaks {
    automaton: AhoCorasick,
    /// What each pattern is.
    names: Vec<String>,
}

impl Leaks {
    /// Secrets, each with the name that a finding gets.
    pub fn new<'a>(secrets: impl IntoIterator<Item = (String, &'a Secret)>) -> Result<Self> {
        let (mut names, mut patterns) = (Vec::new(), Vec::new());
        for (name, secret) in secrets {
            for (form, pattern) in forms(secret) {
                names.push(format!("{name}: {} as {form}", secret.text));
                patterns.push(pattern);
            }
        }
        let automaton = AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(patterns)?;
        Ok(Self { automaton, names })
    }

    /// The first secret in there, with what it is and stands beside.
    pub fn find(&self, hay: &[u8]) -> Option<String> {
        let mut decoded = hay.to_vec();
        for times in 0..=DECODINGS {
            if let Some(found) = self.automaton.find(&decoded) {
                let around = found.start().saturating_sub(CONTEXT)..(found.end() + CONTEXT).min(decoded.len());
                let around = String::from_utf8_lossy(&decoded[around]).into_owned();
                let name = self.names.get(found.pattern().as_usize()).map_or("", String::as_str);
                return Some(format!("{name}, percent-decoded {times} times: {around:?}"));
            }
            let next = percent_decoded(&decoded);
            if next.len() == decoded.len() {
                break;
            }
            decoded = next;
        }
        None
    }

    /// The first secret in any file below a directory, with the file's name.
    pub fn find_below(&self, directory: &Path) -> std::io::Result<Option<String>> {
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            let found = match path.is_dir() {
                true => self.find_below(&path)?,
                false if path.is_file() => self.find(&std::fs::read(&path)?),
                false => None,
            };
            if let Some(found) = found {
                return Ok(Some(format!("{}: {found}", path.display())));
            }
        }
        Ok(None)
    }
}

fn forms(secret: &Secret) -> Vec<(&'static str, Vec<u8>)> {
    let text = secret.needle().as_bytes();
    let hex: String = text.iter().map(|byte| format!("{byte:02x}")).collect();
    let decimal: Vec<_> = text.iter().map(u8::to_string).collect();
    let mut forms = vec![
        ("text", text.to_vec()),
        ("hex", hex.to_uppercase().into_bytes()),
        ("hex", hex.into_bytes()),
        ("a list of bytes", decimal.join(", ").into_bytes()),
        ("a list of bytes", decimal.join(" ").into_bytes()),
        ("a list of bytes", decimal.join(",").into_bytes()),
    ];
    for before in 0..3 {
        forms.push(("base64", base64(&STANDARD, text, before)));
        forms.push(("base64", base64(&URL_SAFE, text, before)));
    }
    if let Some(number) = secret.number() {
        let mut varint = Vec::new();
        encode_varint(number as u64, &mut varint);
        forms.extend([
            ("digits", number.to_string().into_bytes()),
            ("a varint", varint),
            ("a fixed64", number.to_le_bytes().to_vec()),
        ]);
    }
    forms.retain(|(_, pattern)| pattern.len() >= 7);
    forms
}

/// The digits that the text has for certain when so many bytes stand before it.
fn base64(engine: &impl base64::Engine, text: &[u8], before: usize) -> Vec<u8> {
    let encoded = engine.encode([&vec![0; before][..], text].concat());
    let first = (before * 8).div_ceil(6);
    let last = (before + text.len()) * 8 / 6;
    encoded.as_bytes()[first..last].to_vec()
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|&digit| char::from(digit).to_digit(16));
    let mut decoded = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}
