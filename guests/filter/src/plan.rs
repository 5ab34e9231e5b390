//! What is asked of each batch: conditions over shared fields, each with the level it drops and its rule.

use ottl::eval::{EvalError, eval};
use ottl::path::Scope;
use ottl::{Expr, Source, SyntaxError, parser};
use sluicebox_guest::{Batch, Level, Rows, Rule, Signal, Value, Values};

use crate::config::{self, Context, ErrorMode};

/// At most this many rules can be opened.
const CONDITIONS_MAX: usize = 64;

/// All conditions, in the order in which they are applied.
#[derive(Debug)]
pub struct Plan {
    sources: Vec<Source>,
    conditions: Vec<Condition>,
}

#[derive(Debug)]
struct Condition {
    name: String,
    signal: Signal,
    /// Rows of this level are judged and dropped.
    level: Level,
    expr: Expr,
    /// Of [`Plan::sources`]; None if it reads nothing.
    source: Option<usize>,
    rule: Rule,
    error_mode: ErrorMode,
}

impl Plan {
    /// Parses conditions and opens their fields and rules. The errors are all that were found.
    pub fn new(configured: Vec<config::Condition>) -> Result<Plan, Vec<String>> {
        let count = configured.len();
        if count > CONDITIONS_MAX {
            return Err(vec![format!(
                "{count} conditions, at most {CONDITIONS_MAX} can be told apart; join some of them with `or`, or use two filters"
            )]);
        }
        let parsed = configured.into_iter().map(Parsed::new).collect::<Vec<_>>();
        let mut errors: Vec<String> = parsed.iter().filter_map(|parsed| parsed.as_ref().err().cloned()).collect();
        let parsed: Vec<Parsed> = parsed.into_iter().flatten().collect();
        let levels: Vec<_> = parsed.iter().map(|one| one.level(&parsed)).collect();
        let mut sources = Vec::new();
        let mut conditions: Vec<Condition> = Vec::with_capacity(parsed.len());
        for (parsed, level) in parsed.into_iter().zip(levels) {
            match level.and_then(|level| parsed.open(level, &mut sources)) {
                Ok(condition) => conditions.push(condition),
                Err(error) => errors.push(error),
            }
        }
        // As the Collector: higher levels first; within a level in the order of the configuration.
        conditions.sort_by_key(|condition| condition.level);
        if errors.is_empty() { Ok(Plan { sources, conditions }) } else { Err(errors) }
    }

    /// Drops what any condition is true of.
    pub fn apply(&self, batch: &Batch) -> Result<(), String> {
        let signal = batch.signal();
        let propagates = |condition: &&Condition| condition.error_mode == ErrorMode::Propagate;
        let mut dropped = self.conditions.iter().any(|one| propagates(&one)).then(Vec::new);
        let mut columns: Vec<Option<Values>> = self.sources.iter().map(|_| None).collect();
        for condition in self.conditions.iter().filter(|condition| condition.signal == signal) {
            let judged = match condition.source {
                None => condition.judge_all(batch),
                Some(index) => {
                    let source = &self.sources[index];
                    let values = columns[index].get_or_insert_with(|| source.values(batch));
                    condition.judge(batch, source, values)
                }
            };
            if let (Some(dropped), Some(failed)) = (&dropped, &judged.failed)
                && condition.error_mode == ErrorMode::Propagate
                && remaining(failed, condition.level, dropped) > 0
            {
                let EvalError(why) = judged.error.unwrap_or(EvalError("unknown"));
                return Err(format!("{}: {why}", condition.name));
            }
            if let Some(rows) = judged.matched {
                batch.drop(&rows, &condition.rule);
                if let Some(dropped) = &mut dropped {
                    dropped.push((condition.level, rows));
                }
            }
        }
        Ok(())
    }
}

/// How many of these rows were not dropped before; what was dropped is of the same level or above.
fn remaining(rows: &Rows, level: Level, dropped: &[(Level, Rows)]) -> u32 {
    let without = |left: Option<Rows>, (of, gone): &(Level, Rows)| {
        let kept = if *of == level { !gone } else { !&gone.at(level) };
        Some(left.as_ref().unwrap_or(rows) & &kept)
    };
    dropped.iter().fold(None, without).as_ref().unwrap_or(rows).count()
}

/// Rows that a condition is true of, and rows that it fails for; None where there are none for certain.
struct Judged {
    matched: Option<Rows>,
    failed: Option<Rows>,
    error: Option<EvalError>,
}

impl Condition {
    /// A condition that reads nothing is the same of all rows.
    fn judge_all(&self, batch: &Batch) -> Judged {
        let answer = eval(&self.expr, &|_| Value::Absent);
        let all = || batch.where_rows(self.level, |_| true);
        Judged { matched: (answer == Ok(true)).then(all), failed: answer.is_err().then(all), error: answer.err() }
    }

    fn judge(&self, batch: &Batch, source: &Source, values: &Values) -> Judged {
        let judged = source.judge(&self.expr, values);
        let rows = |entries| source.rows(batch, entries).map(|rows| at(rows, source.level(), self.level));
        let failed = if self.error_mode == ErrorMode::Propagate { rows(&judged.failed) } else { None };
        Judged { matched: rows(&judged.matched), failed, error: judged.error }
    }
}

fn at(rows: Rows, level: Level, wanted: Level) -> Rows {
    if level == wanted { rows } else { rows.at(wanted) }
}

/// A condition that was parsed, before anything is opened for it.
struct Parsed {
    configured: config::Condition,
    condition: parser::Condition,
}

impl Parsed {
    fn new(configured: config::Condition) -> Result<Parsed, String> {
        let scope = match configured.context {
            Context::Given(level) => Scope::Relative(level),
            Context::Inferred { .. } => Scope::Prefixed(configured.signal),
        };
        match parser::parse(&configured.text, scope) {
            Ok(condition) => Ok(Parsed { configured, condition }),
            Err(error) => Err(configured.error(&error)),
        }
    }

    /// The level that it drops: as configured, or else the lowest that its group names.
    fn level(&self, all: &[Parsed]) -> Result<Level, String> {
        let context = self.configured.context;
        if let Context::Given(level) = context {
            return Ok(level);
        }
        let group = all.iter().filter(|one| one.configured.context == context);
        let lowest = group.flat_map(|one| &one.condition.paths).map(|path| path.level).max();
        lowest.ok_or_else(|| {
            let why = "names no field, so it is not known what to drop; say `context` in a group";
            self.configured.error(&SyntaxError::new(0, why))
        })
    }

    fn open(self, level: Level, sources: &mut Vec<Source>) -> Result<Condition, String> {
        let Parsed { configured, condition } = self;
        let source = match sources.iter().position(|source| source.is_of(&condition.paths)) {
            Some(shared) => Some(shared),
            None => Source::open(&condition).map_err(|error| configured.error(&error))?.map(|source| {
                sources.push(source);
                sources.len() - 1
            }),
        };
        let rule = Rule::open(&configured.name).map_err(|error| format!("{}: {error}", configured.name))?;
        let config::Condition { name, signal, error_mode, .. } = configured;
        Ok(Condition { name, signal, level, expr: condition.expr, source, rule, error_mode })
    }
}
