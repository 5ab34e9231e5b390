//! Drops spans of health checks.

use sluicebox_guest::{Batch, Field, Processor, Rule};

struct DropHealthChecks {
    route: Field,
    rule: Rule,
}

impl Processor for DropHealthChecks {
    fn configure(_config: &str) -> Result<Self, String> {
        let route = Field::open(&[r#"span.attributes["http.route"]"#])?;
        Ok(Self { route, rule: Rule::open("health-checks")? })
    }

    fn process(&mut self, batch: &Batch) -> Result<(), String> {
        batch.drop_values(&self.route, &self.rule, |value| value == "/health");
        Ok(())
    }
}

sluicebox_guest::export!(DropHealthChecks);

#[cfg(test)]
mod tests {
    use sluicebox_guest::Level;
    use sluicebox_guest::testing::{TestBatch, Tester};

    use super::*;

    #[test]
    fn health_checks_go_and_orders_stay() {
        let batch = TestBatch::traces()
            .span("GET /health")
            .attribute("http.route", "/health")
            .span("POST /checkout")
            .attribute("http.route", "/checkout");
        let outcome = Tester::<DropHealthChecks>::configure("{}").unwrap().process(&batch).unwrap();
        assert_eq!(outcome.left(Level::Span), [1]);
        assert_eq!(outcome.dropped_by("health-checks"), [(Level::Span, 0)]);
    }
}
