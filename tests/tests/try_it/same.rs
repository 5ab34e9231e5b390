//! The same input through a running engine and through a try: what comes out is the same.

use std::time::Duration;

use serde_json::{Value, json};
use sluicebox::signal::Signal;
use sluicebox_tests::client::{Answer, send_once};
use sluicebox_tests::config::Config;
use sluicebox_tests::engine::Engine;
use sluicebox_tests::generate::{Shape, Workload};
use sluicebox_tests::sink::{Behaviour, Sink};

use crate::lab::{ATTRIBUTES, FILTER, as_json, decoded, output, printed, step, write};

const BOUND: Duration = Duration::from_secs(60);
const REDACTION: &str = r#"{"allow_all_keys": true, "blocked_values": ["all", "[a-z]+@[a-z.]+"], "summary": "debug"}"#;

fn config(sink: &Sink) -> Config {
    let block = |json: &str| json.trim().trim_start_matches('{').trim_end_matches('}').replace('\n', " ");
    Config::new()
        .processor("filter/health", &block(FILTER))
        .processor("batch", "timeout: 10ms")
        .processor("attributes/ring", &block(ATTRIBUTES))
        .processor("redaction/pii", &block(REDACTION))
        .sink(sink.address, "")
}

/// One that is tried in all ways must give this.
struct Lab {
    engine: Engine,
    sink: Sink,
}

impl Lab {
    async fn start() -> Lab {
        let sink = Sink::start(Behaviour { keep: true, ..Behaviour::default() }).await.unwrap();
        Lab { engine: Engine::start(&config(&sink).text()).await.unwrap(), sink }
    }

    async fn tried(&self, arguments: &[&str]) -> Value {
        let done = self.engine.command(&[&["try", "--output", "json"], arguments].concat()).await.unwrap();
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        printed(&done)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_out_is_what_the_engine_sends() {
    let lab = Lab::start().await;
    let file = lab.engine.config_file().display().to_string();
    for signal in Signal::ALL {
        let shape = Shape { items_per_request: 64, requests: 1, odd: true, ..Shape::new(signal) };
        let text = as_json(signal, &Workload::new(shape).request(1, 0));
        let input = write(lab.engine.directory(), "input.json", &text);
        // From JSON, so that both begin with the same: it has none of the fields that OTLP does not know.
        let request = sluicebox::json::to_protobuf(signal, text.as_bytes()).unwrap();
        let http = sluicebox_tests::client::Protocol::Http;
        let answer = send_once(lab.engine.addresses.http, http, signal, request.into()).await.unwrap();
        assert_eq!(answer, Answer::Accepted { warning: None });
        lab.engine.settled_account(BOUND).await.unwrap();
        let sent = decoded(signal, &lab.sink.kept(signal));
        assert_eq!(sent.len(), 1, "{signal}");

        let offline = lab.tried(&["--config", &file, "--input", &input]).await;
        assert_eq!(output(signal, &offline), sent, "{signal}, by the file");
        let live = lab.tried(&["--pipeline", signal.as_str(), "--input", &input]).await;
        assert_eq!(output(signal, &live), sent, "{signal}, by the engine");

        assert_eq!(offline["records"], 64);
        let filtered = step(&offline, "filter/health");
        let dropped = filtered["dropped"].as_u64().unwrap();
        assert!(dropped > 0, "{filtered}");
        assert_eq!(offline["left"], 64 - dropped);
        assert_eq!(filtered["changes"].as_array().unwrap().len() as u64, dropped);
        assert!(filtered["changes"].as_array().unwrap().iter().all(|change| change["dropped_by"].is_string()));
        assert_eq!(step(&offline, "batch")["kind"], "passed_through");
        let changed = step(&offline, "attributes/ring");
        assert_eq!((&changed["shown"], &changed["dropped"]), (&json!(64 - dropped), &json!(0)));
        assert!(changed["changed"].as_u64().unwrap() > 0);
        assert!(step(&offline, "redaction/pii")["changed"].as_u64().unwrap() > 0, "{signal}");
        for name in ["filter/health", "attributes/ring", "redaction/pii"] {
            assert_eq!(step(&offline, name)["digest"], step(&live, name)["digest"]);
            assert!(step(&live, name)["cost"]["calls"].as_u64().unwrap() > 0);
            assert!(step(&live, name)["cost"]["memory_bytes"].as_u64().unwrap() > 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_is_tried_as_it_serves_or_with_another_configuration() {
    let lab = Lab::start().await;
    let text = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[
        {"attributes":[{"key":"http.route","value":{"stringValue":"/health"}}]},
        {"attributes":[{"key":"http.route","value":{"stringValue":"/"}}]}]}]}]}"#;
    let input = write(lab.engine.directory(), "input.json", text);
    let serving = lab.tried(&["filter/health", "--input", &input]).await;
    assert_eq!((&serving["left"], &serving["steps"][0]["changes"][0]["row"]), (&json!(1), &json!(0)));
    let other = write(lab.engine.directory(), "other.yaml", "error_mode: ignore\nlogs: {log_record: ['true']}\n");
    let replaced = lab.tried(&["filter/health", "--config", &other, "--input", &input]).await;
    assert_eq!(replaced["left"], 0);
    // After a swap it is what was swapped in that serves; the try before has changed nothing.
    let none = r#"{"error_mode":"ignore","logs":{"log_record":["false"]}}"#;
    lab.engine.swap_config("filter/health", none).await.unwrap();
    let swapped = lab.tried(&["filter/health", "--input", &input]).await;
    assert_eq!(swapped["left"], 2);
}
