//! A stage's configuration as a swap gives it: its block of the file, less what the engine reads of it.

use serde_json::Value;

use super::check::processors::OWN_KEYS;
use super::check::tail_sampling::{BUNDLED, FIRST_MATCH, SAMPLER_KEYS};
use super::model::{Component, Stage};

/// What a stage's component is configured with once `given` (JSON) takes the place of its configuration.
///
/// # Errors
/// A key of `given` that a bundled processor's block may have and its component does not read: only the file can change it.
pub fn replaced(stage: &Stage, given: String) -> Result<String, &'static str> {
    let Component::Bundled(component) = &stage.component else { return Ok(given) };
    // What is no map is for the component to refuse.
    let Ok(Value::Object(mut config)) = serde_json::from_str(&given) else { return Ok(given) };
    if let Some(key) = OWN_KEYS.into_iter().find(|key| config.contains_key(*key)) {
        return Err(key);
    }
    if component != BUNDLED {
        return Ok(given);
    }
    if let Some(key) = SAMPLER_KEYS.into_iter().find(|key| config.contains_key(*key)) {
        return Err(key);
    }
    // The engine combines the votes of several stages by it, so it cannot differ from what the file said at the start.
    let serving = serde_json::from_str::<Value>(&stage.config).unwrap_or_default();
    let serving = serving.get(FIRST_MATCH).cloned().unwrap_or(Value::Bool(false));
    match config.insert(FIRST_MATCH.to_owned(), serving.clone()) {
        Some(given) if given != serving => Err(FIRST_MATCH),
        _ => Ok(Value::Object(config).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{System, load_text};

    fn stage(block: &str) -> Stage {
        let name = block.split(':').next().expect("a name");
        let text = format!(
            "receivers: {{otlp: {{protocols: {{grpc: }}}}}}\nprocessors: {{{block}}}\nexporters: {{debug: }}\n\
             service: {{pipelines: {{traces: {{receivers: [otlp], processors: [{name}], exporters: [debug]}}}}}}\n"
        );
        let loaded = load_text("test.yaml".into(), text, Path::new(""), &System);
        loaded.unwrap_or_else(|report| panic!("{report}")).config.stages.remove(0)
    }

    fn json(text: &str) -> Value {
        serde_json::from_str(text).expect("JSON")
    }

    #[test]
    fn policies_keep_what_the_file_says_of_first_matches() {
        for (said, expected) in
            [("", false), ("sample_on_first_match: false,", false), ("sample_on_first_match: true,", true)]
        {
            let sampler = stage(&format!("tail_sampling: {{{said} policies: [{{name: all, type: always_sample}}]}}"));
            let policies = r#"{"policies":[{"name":"none"}]}"#;
            let whole = format!(r#"{{"policies":[{{"name":"none"}}],"sample_on_first_match":{expected}}}"#);
            for given in [policies, &whole] {
                assert_eq!(json(&replaced(&sampler, given.to_owned()).expect("only policies")), json(&whole));
            }
            let other = whole.replace(&expected.to_string(), &(!expected).to_string());
            assert_eq!(replaced(&sampler, other), Err(FIRST_MATCH));
        }
    }

    #[test]
    fn the_samplers_keys_are_the_files() {
        let sampler = stage("tail_sampling: {policies: [{name: all, type: always_sample}]}");
        for key in SAMPLER_KEYS.into_iter().chain(OWN_KEYS) {
            assert_eq!(replaced(&sampler, format!(r#"{{"policies":[],"{key}":1}}"#)), Err(key));
        }
        let filter = stage("filter: {error_mode: ignore}");
        assert_eq!(replaced(&filter, r#"{"num_traces":1}"#.to_owned()), Ok(r#"{"num_traces":1}"#.to_owned()));
        for odd in ["[]", "5", "{"] {
            assert_eq!(replaced(&sampler, odd.to_owned()), Ok(odd.to_owned()), "its component refuses it");
        }
    }
}
