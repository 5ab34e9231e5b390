//! .
use sluicebox_guest::{Batch, Field, Processor, Rule, Signal};

struct Filter {
    conditions: Vec<(Field, String, Rule)>,
}

impl Processor for Filter {
    fn configure(config: &str) -> Result<Self, String> {
        let config: serde_json::Value = serde_json::from_str(config).map_err(|e| e.to_string())?;
        let mut conditions = Vec::new();
        for (n, line) in config["traces"]["span"].as_array().into_iter().flatten().enumerate() {
            let line = line.as_str().ok_or("not a string")?;
            let (path, text) = line.split_once(" == ").ok_or("only ==")?;
            let path = format!("span.{path}");
            conditions.push((Field::open(&[&path])?, text.trim_matches('"').to_owned(), Rule::open(&format!("traces.span[{n}]"))?));
        }
        Ok(Self { conditions })
    }

    fn process(&mut self, batch: &Batch) -> Result<(), String> {
        if batch.signal() == Signal::Traces {
            for (field, text, rule) in &self.conditions {
                batch.drop_values(field, rule, |v| v == text.as_str());
            }
        }
        Ok(())
    }
}

sluicebox_guest::export!(Filter);
