//! The blocks of policies that are made of others.

use config_reader::unknown;

use super::{Block, Kind, Names, Policy, Reader, policies};

/// Policies that are asked one after the other and share a rate.
#[derive(Debug)]
pub struct Composite {
    /// In the order in which they are asked, each with what it may keep: spans each second.
    pub policies: Vec<(Policy, f64)>,
    /// Of all together, where what they may keep adds up to more than this: spans each second.
    pub total_spans_per_second: Option<f64>,
}

pub const AND: Reader =
    Reader { keys: &["and_sub_policy"], read: |block, depth| list(block, "and_sub_policy", depth).map(Kind::And) };

pub const DROP: Reader =
    Reader { keys: &["drop_sub_policy"], read: |block, depth| list(block, "drop_sub_policy", depth).map(Kind::Drop) };

pub const NOT: Reader = Reader {
    keys: &["not_sub_policy"],
    read: |mut block, depth| {
        block.require("not_sub_policy");
        let place = format!("{}.not_sub_policy", block.place);
        super::policy(&place, 0, block.get("not_sub_policy")?, depth + 1, block.errors).map(Box::new).map(Kind::Not)
    },
};

pub const COMPOSITE: Reader = Reader {
    keys: &["max_total_spans_per_second", "policy_order", "composite_sub_policy", "rate_allocation"],
    read: |mut block, depth| {
        block.require("max_total_spans_per_second");
        let total = block.int("max_total_spans_per_second", 1..=i64::MAX).map(|total| total as f64);
        let place = format!("{}.composite_sub_policy", block.place);
        let values = block.list("composite_sub_policy");
        if values.is_empty() && block.get("composite_sub_policy").is_none_or(|list| list.is_array()) {
            block.fail("composite_sub_policy", "expected at least one policy");
        }
        let mut listed = policies(&place, values, Names::References, depth + 1, block.errors);
        let names: Vec<String> = values
            .iter()
            .filter_map(|value| value.get("name").and_then(|name| name.as_str()))
            .map(str::to_owned)
            .collect();
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.dedup();
        let order = order(&mut block, &names);
        let percents = percents(&mut block, &names);
        let total = total?;
        // Those that the order does not name come after the others, as they are listed.
        listed.sort_by_key(|policy| order.iter().position(|name| *name == policy.name).unwrap_or(usize::MAX));
        let allocations = allocations(total, &listed, &percents);
        let sum: f64 = allocations.iter().sum();
        let total_spans_per_second = (sum > total * (1.0 + 1e-9)).then_some(total);
        let policies = listed.into_iter().zip(allocations).collect();
        Some(Kind::Composite(Composite { policies, total_spans_per_second }))
    },
};

fn list(mut block: Block<'_>, key: &str, depth: usize) -> Option<Vec<Policy>> {
    let values = block.list(key);
    if values.is_empty() && block.get(key).is_none_or(|list| list.is_array()) {
        block.fail(key, "expected at least one policy");
    }
    let place = format!("{}.{key}", block.place);
    let policies = policies(&place, values, Names::Optional, depth + 1, block.errors);
    (policies.len() == values.len()).then_some(policies)
}

fn order(block: &mut Block<'_>, names: &[&str]) -> Vec<String> {
    let order = block.texts("policy_order");
    for (index, (place, name)) in order.iter().enumerate() {
        if !names.contains(&name.as_str()) {
            block.fail(place, unknown("policy", name, names));
        } else if order[..index].iter().any(|(_, before)| before == name) {
            block.fail(place, "is named already");
        }
    }
    order.into_iter().map(|(_, name)| name).collect()
}

/// Percentages of the total by the names of policies; 0 stands for an equal share.
fn percents(block: &mut Block<'_>, names: &[&str]) -> Vec<(String, i64)> {
    let mut percents: Vec<(String, i64)> = Vec::new();
    for (index, value) in block.list("rate_allocation").iter().enumerate() {
        let place = format!("{}.rate_allocation[{index}]", block.place);
        let mut entry = Block::new(place, Some(value), &["policy", "percent"], block.errors);
        entry.require("policy");
        let percent = entry.int("percent", 0..=100).unwrap_or(0);
        let Some(name) = entry.text("policy") else { continue };
        if !names.contains(&name) {
            entry.fail("policy", unknown("policy", name, names));
        } else if percents.iter().any(|(before, _)| before == name) {
            entry.fail("policy", "has a rate already");
        }
        percents.push((name.to_owned(), percent));
    }
    percents
}

/// As the Collector: a percentage of the total, or an equal share of it where that is 0. Those that have no entry share equally what
/// the others leave.
fn allocations(total: f64, policies: &[Policy], percents: &[(String, i64)]) -> Vec<f64> {
    let share = |policy: &Policy| {
        let (_, percent) = percents.iter().find(|(name, _)| *name == policy.name)?;
        Some(if *percent > 0 { total * *percent as f64 / 100.0 } else { total / policies.len() as f64 })
    };
    let shares: Vec<Option<f64>> = policies.iter().map(share).collect();
    let given: f64 = shares.iter().flatten().sum();
    let others = shares.iter().filter(|share| share.is_none()).count();
    let rest = (total - given).max(0.0) / others.max(1) as f64;
    shares.into_iter().map(|share| share.unwrap_or(rest)).collect()
}
