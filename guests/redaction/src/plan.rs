//! What is done to each batch: keys first, then every value, then names of spans; edits are made last.

use std::borrow::Cow;

use sluicebox_guest::{Batch, Contents, Field, HashKey, Leaf, Place, Signal, Value};

use crate::body;
use crate::config::{Config, MaskConfig};
use crate::db;
use crate::edits::{Edits, Kind, Target, is_attributes};
use crate::keys::{Fate, KeyRules, Note};
use crate::mask::Mask;
use crate::rules::{Reason, Rules};
use crate::scan::patterns::Patterns;
use crate::scan::{Scanner, Stretch};
use crate::span_names::{Sanitized, SpanNames};
use crate::summary::{Done, Summary};
use crate::url;

/// A configured redactor.
#[derive(Debug)]
pub struct Plan {
    keys: KeyRules,
    scanner: Scanner,
    mask: Mask,
    rules: Rules,
    redact_all_types: bool,
    sanitizes_log_bodies: bool,
    span_names: Option<SpanNames>,
    summary: Option<Summary>,
    /// Read where keys are hidden.
    body: Option<Field>,
}

/// The work on a batch.
struct Work<'p, 'b> {
    plan: &'p Plan,
    notes: &'b [Note<'b>],
    edits: Edits<'b>,
    done: Done,
}

impl Plan {
    /// Compiles patterns and opens what is needed. The errors are all that were found.
    pub fn new(config: Config) -> Result<Plan, Vec<String>> {
        let mut errors = Vec::new();
        let mut compile = |key: &str, patterns: &[String]| {
            Patterns::new(patterns).unwrap_or_else(|wrong| {
                errors.extend(wrong.into_iter().map(|(number, why)| match number {
                    Some(number) => format!("{key}[{number}]: not a regular expression: {why}"),
                    None => format!("{key}: all patterns together: {why}"),
                }));
                Patterns::default()
            })
        };
        let ignored = compile("ignored_key_patterns", &config.ignored_key_patterns);
        let blocked_keys = compile("blocked_key_patterns", &config.blocked_key_patterns);
        let blocked = compile("blocked_values", &config.blocked_values);
        let allowed = compile("allowed_values", &config.allowed_values);
        let keys = KeyRules::new(&config, ignored, blocked_keys);
        let scanner = Scanner::new(blocked, allowed, &config.detectors);
        let mut keep = |error: String| errors.push(error);
        let rules = Rules::open(&config).map_err(&mut keep).ok();
        let span_names = SpanNames::open(&config).map_err(&mut keep).ok();
        let summary = Summary::open(config.summary).map_err(&mut keep).ok();
        let has_hidden_keys = !config.blocked_key_patterns.is_empty();
        let body = has_hidden_keys.then(|| Field::open(&["log.body"])).transpose().map_err(&mut keep).ok();
        let mask = match config.mask {
            MaskConfig::Text(text) => Some(Mask::Text(text)),
            MaskConfig::Hash(hash) => Some(Mask::Hash(hash)),
            MaskConfig::Key(name) => {
                HashKey::open(&name).map(Mask::Host).map_err(|why| keep(format!("key: {why}"))).ok()
            }
        };
        let (Some(rules), Some(span_names), Some(summary), Some(body), Some(mask), true) =
            (rules, span_names, summary, body, mask, errors.is_empty())
        else {
            return Err(errors);
        };
        let redact_all_types = config.redact_all_types;
        let sanitizes_log_bodies = config.url.is_some_and(|url| url.log_bodies);
        Ok(Plan { keys, scanner, mask, rules, redact_all_types, sanitizes_log_bodies, span_names, summary, body })
    }

    pub fn apply(&self, batch: &Batch) {
        let contents = batch.contents();
        let names = self
            .span_names
            .as_ref()
            .filter(|_| batch.signal() == Signal::Traces)
            .map(|names| (names, names.read(batch)));
        let mut notes = self.keys.judge(&contents);
        body::remove_opaque(batch, &contents, self.body.as_ref(), &mut notes);
        let mut work = Work { plan: self, notes: &notes, edits: Edits::default(), done: Done::default() };
        work.judge_keys();
        for leaf in contents.leaves() {
            work.judge_leaf(leaf);
        }
        if let Some((names, values)) = &names {
            for (entry, tuple) in (0..).zip(values.tuples()).skip(1) {
                work.judge_name(entry, tuple.get(0), names.sanitize(tuple));
            }
        }
        let Work { edits, done, .. } = work;
        self.remove(batch, &notes, &done.removed);
        let shown = edits.apply(batch, &self.mask, &self.rules, self.span_names.as_ref());
        self.sum_up(batch, &contents, &done, &shown);
    }

    /// Removed keys are accounted to the list that they are not on, or to the patterns that they match.
    fn remove(&self, batch: &Batch, notes: &[Note<'_>], removed: &[u32]) {
        let is_blocked = |key: &u32| self.keys.is_blocked(&notes[*key as usize - 1]);
        let (blocked, others): (Vec<u32>, Vec<u32>) = removed.iter().partition(|key| is_blocked(key));
        for (keys, reason) in [(others, Reason::AllowedKeys), (blocked, Reason::BlockedKeys)] {
            if let Some(rule) = self.rules.get(self.rules.number(reason)) {
                batch.remove_keys(&keys, rule);
            }
        }
    }

    fn sum_up(&self, batch: &Batch, contents: &Contents, done: &Done, shown: &std::collections::HashMap<u32, String>) {
        let rule = self.rules.get(self.rules.number(Reason::Summary));
        if let (Some(summary), Some(rule)) = (&self.summary, rule) {
            summary.write(batch, contents, done, shown, rule);
        }
    }
}

impl<'b> Work<'_, 'b> {
    fn judge_keys(&mut self) {
        let shows_keys = self.plan.summary.as_ref().is_some_and(Summary::has_keys);
        for (number, note) in (1..).zip(self.notes) {
            let target = match note.fate {
                Fate::Ignored => {
                    self.done.ignored.push(number);
                    continue;
                }
                Fate::Removed => {
                    self.done.removed.push(number);
                    if !shows_keys {
                        continue;
                    }
                    Target::ShownKey(number)
                }
                Fate::Hidden | Fate::Judged => Target::Key(number),
            };
            let stretches = self.plan.scanner.scan(b"", note.text);
            if let Some(first) = stretches.first() {
                self.edits.replace(target, Reason::Found(first.by), Cow::Borrowed(note.text), stretches);
            }
        }
    }

    fn judge_leaf(&mut self, leaf: Leaf<'b>) {
        let note = leaf.key.and_then(|key| self.notes.get(key as usize - 1));
        let target = Target::Leaf(leaf.number, Kind::of(leaf.value, leaf.place));
        match note.map_or(Fate::Judged, |note| note.fate) {
            Fate::Ignored | Fate::Removed => {}
            Fate::Hidden => self.hide_leaf(leaf, target),
            Fate::Judged => match leaf.value {
                Value::Str(text) => self.judge_text(leaf, note, target, text),
                Value::Bytes(bytes) => self.judge_bytes(leaf, note, target, Cow::Borrowed(bytes), None),
                other => self.judge_number(leaf, other),
            },
        }
    }

    /// As in the Collector an allowed value outweighs a blocked key, but for those of bodies.
    fn hide_leaf(&mut self, leaf: Leaf<'b>, target: Target) {
        let text = match leaf.value {
            Value::Str(text) => Cow::Borrowed(text.as_bytes()),
            Value::Bytes(bytes) => Cow::Borrowed(bytes),
            other => Cow::Owned(digits_of(other).unwrap_or_default().into_bytes()),
        };
        if is_attributes(leaf.place) && self.plan.scanner.is_allowed(&text) {
            return self.done.allowed.push(leaf.number);
        }
        self.done.masked.push(leaf.number);
        self.edits.hide(target, Reason::BlockedKeys, text);
    }

    fn judge_text(&mut self, leaf: Leaf<'b>, note: Option<&Note<'b>>, target: Target, text: &'b str) {
        let sanitized = note.and_then(|note| note.sanitized);
        let is_url = sanitized
            .map_or(leaf.place == Place::LogBody && leaf.key.is_none() && self.plan.sanitizes_log_bodies, |of| {
                of.is_url
            });
        let families = sanitized.map_or(&[][..], |of| &of.families);
        if !is_url && families.is_empty() || self.plan.scanner.is_allowed(text.as_bytes()) {
            return self.judge_bytes(leaf, note, target, Cow::Borrowed(text.as_bytes()), None);
        }
        let mut new = Cow::Borrowed(text);
        let mut reason = None;
        if is_url {
            new = Cow::Owned(url::sanitize(&new));
            reason = (new != text).then_some(Reason::Url);
        }
        if !families.is_empty() {
            let Some(statement) = db::sanitize(&new, families) else {
                self.done.masked.push(leaf.number);
                return self.edits.hide(target, Reason::Db, Cow::Borrowed(text.as_bytes()));
            };
            reason = reason.or((statement != new).then_some(Reason::Db));
            new = Cow::Owned(statement);
        }
        let new = match new {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        self.judge_bytes(leaf, note, target, new, reason);
    }

    /// Judges a text or bytes; with a reason it has been changed already.
    fn judge_bytes(
        &mut self,
        leaf: Leaf<'b>,
        note: Option<&Note<'b>>,
        target: Target,
        text: Cow<'b, [u8]>,
        reason: Option<Reason>,
    ) {
        let key = note.map_or(&b""[..], |note| note.text);
        let stretches = self.scan(key, &text);
        let found = stretches.first().map(|stretch| Reason::Found(stretch.by));
        if let Some(reason) = found.or(reason) {
            self.done.masked.push(leaf.number);
            self.edits.replace(target, reason, text, stretches);
        } else if self.plan.summary.is_some() && self.plan.scanner.is_allowed(&text) {
            self.done.allowed.push(leaf.number);
        }
    }

    fn scan(&self, key: &[u8], text: &Cow<'b, [u8]>) -> Vec<Stretch<'b>> {
        match text {
            Cow::Borrowed(text) => self.plan.scanner.scan(key, text),
            Cow::Owned(text) => self.plan.scanner.scan(key, text).into_iter().map(Stretch::into_owned).collect(),
        }
    }

    /// Numbers and booleans: cards always, patterns with `redact_all_types`. What is hidden in them makes them texts.
    fn judge_number(&mut self, leaf: Leaf<'b>, value: Value<'b>) {
        let is_long = match value {
            Value::Int(int) => int.unsigned_abs() >= 1_000_000_000_000,
            Value::Double(double) => double.abs() >= 1e12,
            _ => false,
        };
        if !is_long && !self.plan.redact_all_types {
            return;
        }
        let Some(text) = digits_of(value) else { return };
        let scanner = &self.plan.scanner;
        let target = Target::Leaf(leaf.number, Kind::Text);
        if scanner.is_card(text.trim_start_matches('-').as_bytes()) && !scanner.is_allowed(text.as_bytes()) {
            self.done.masked.push(leaf.number);
            let reason = Reason::Found(crate::scan::Finder::Detector(crate::detect::Detector::Card));
            self.edits.hide(target, reason, Cow::Owned(text.into_bytes()));
        } else if self.plan.redact_all_types {
            let stretches: Vec<_> =
                scanner.scan_patterns(text.as_bytes()).into_iter().map(Stretch::into_owned).collect();
            if let Some(first) = stretches.first() {
                self.done.masked.push(leaf.number);
                self.edits.replace(target, Reason::Found(first.by), Cow::Owned(text.into_bytes()), stretches);
            }
        }
    }

    /// A name that is judged as every other text already, and sanitized besides: what it is set to outweighs that.
    fn judge_name(&mut self, entry: u32, name: Value<'b>, sanitized: Sanitized) {
        let Some(name) = name.as_str().filter(|name| !self.plan.scanner.is_allowed(name.as_bytes())) else { return };
        let target = Target::SpanName(entry);
        match sanitized {
            Sanitized::Unchanged => {}
            Sanitized::Hidden(reason) => self.edits.hide(target, reason, Cow::Borrowed(name.as_bytes())),
            Sanitized::To(new, reason) => {
                let new = Cow::Owned(new.into_bytes());
                let stretches = self.scan(b"", &new);
                let reason = stretches.first().map_or(reason, |stretch| Reason::Found(stretch.by));
                self.edits.replace(target, reason, new, stretches);
            }
        }
    }
}

/// How the Collector writes numbers and booleans, but for exponents.
fn digits_of(value: Value<'_>) -> Option<String> {
    match value {
        Value::Int(int) => Some(int.to_string()),
        Value::Double(double) => Some(double.to_string()),
        Value::Bool(bool) => Some(bool.to_string()),
        _ => None,
    }
}
