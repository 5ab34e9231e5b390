//! Secrets in every place of OTLP that can hold text come out nowhere, and nothing else is touched.
//!
//! What may stay, and why. Ids of their length (16 and 8 bytes) are what telemetry is joined by: they are judged as text only if all
//! their bytes are printable ASCII, and become zeros then; a secret that is cut into an id beside other bytes cannot be told from an id.
//! Numbers of the protocol (times, counts, values of data points, flags) are no text and are never shown to a redactor.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use sluicebox::signal::Signal;
use sluicebox_tests::client::{Answer, Connection, Protocol, post};
use sluicebox_tests::config::{Config, otlp};
use sluicebox_tests::engine::{Engine, get};
use sluicebox_tests::plant::{Detector, Form, Holder, Leaks, Lookalikes, Place, Plant, Schema, Secret, build, places};
use sluicebox_tests::sink::{Behaviour, Sink};

const MASK: &str = "[gone]";
const BOUND: Duration = Duration::from_secs(30);
/// The sink has a request before its sender is answered.
const WAIT: &str = "sending_queue: { wait_for_result: true }";

type Plants = HashMap<String, Plant>;

/// An engine that redacts, all that it sends to, and all that must not come out of it.
struct Lab {
    schema: Schema,
    engine: Engine,
    connections: [Connection; 2],
    sink: Sink,
    json: Sink,
    sent: u64,
    /// By their texts, with where they were planted.
    secrets: BTreeMap<String, (String, Secret)>,
    /// What senders were told.
    answers: Vec<u8>,
}

fn redaction() -> String {
    let names: Vec<_> = Detector::ALL.into_iter().filter_map(Detector::name).collect();
    let (names, pattern) = (names.join(", "), Detector::TOKEN_PATTERN);
    format!("allow_all_keys: true, mask: \"{MASK}\", detectors: [{names}], blocked_values: ['{pattern}']")
}

impl Lab {
    async fn start() -> Self {
        let keep = Behaviour { keep: true, ..Behaviour::default() };
        let (sink, json) = (Sink::start(keep.clone()).await.unwrap(), Sink::start(keep).await.unwrap());
        let of_json = format!("endpoint: \"http://{}\", compression: none, encoding: json, {WAIT}", json.address);
        let config = Config::new()
            .processor("redaction", &redaction())
            .exporter("otlp/sink", &otlp(sink.address, WAIT))
            .exporter("otlphttp/json", &of_json)
            .exporter("debug", "verbosity: detailed")
            .verbose();
        let engine = Engine::start(&config.text()).await.unwrap();
        let connections = [
            Connection::open(engine.addresses.grpc, Protocol::Grpc, false).await.unwrap(),
            Connection::open(engine.addresses.http, Protocol::Http, true).await.unwrap(),
        ];
        let schema = Schema::load().unwrap();
        Self { schema, engine, connections, sink, json, sent: 0, secrets: BTreeMap::new(), answers: Vec::new() }
    }

    /// A request with these plants, as it is sent or with a mask as it has to arrive.
    fn request(&self, signal: Signal, plants: &Plants, mask: Option<&str>) -> Bytes {
        let filled = build(&self.schema, signal, &mut |place, number, out| {
            let plant = plants.get(&place.path);
            plant.inspect(|plant| plant.write(place, number, mask, out)).is_some()
        });
        Bytes::from(filled.unwrap())
    }

    /// Sends over gRPC and HTTP by turns; the bytes that arrived. What cannot be decoded by those exporters that have to is a warning.
    async fn pass(&mut self, signal: Signal, body: Bytes, is_unreadable: bool, what: &str) -> Bytes {
        let connection = &mut self.connections[(self.sent % 2) as usize];
        self.sent += 1;
        let answer = connection.send(signal, body, BOUND).await;
        let Answer::Accepted { warning } = answer else { panic!("{what}: {answer:?}") };
        assert_eq!(warning.is_some(), is_unreadable, "{what}: {warning:?}");
        self.answers.extend(warning.unwrap_or_default().into_bytes());
        let arrived = self.sink.kept(signal);
        assert_eq!(self.sink.attempts(), self.sent, "{what}");
        arrived.last().expect("what was accepted arrived").clone()
    }

    fn note(&mut self, plants: &Plants) {
        for (path, plant) in plants {
            let named = || (format!("{path} {:?}", plant.form), plant.secret.clone());
            self.secrets.entry(plant.secret.text.clone()).or_insert_with(named);
        }
    }

    /// Exactly what was planted is masked, and all else is as it was.
    async fn check(&mut self, signal: Signal, plants: &Plants, what: &str) {
        self.note(plants);
        let (planted, wanted) = (self.request(signal, plants, None), self.request(signal, plants, Some(MASK)));
        assert_ne!(planted, wanted, "{what}");
        let is_unreadable = plants.values().any(|plant| plant.form.is_unreadable());
        let arrived = self.pass(signal, planted, is_unreadable, what).await;
        if arrived != wanted {
            let at = arrived.iter().zip(&wanted).take_while(|(a, b)| a == b).count();
            let around = |bytes: &Bytes| {
                let part = at.saturating_sub(80).min(bytes.len())..(at + 80).min(bytes.len());
                String::from_utf8_lossy(&bytes[part]).into_owned()
            };
            panic!("{what}, at byte {at}:\narrived {:?}\nwanted  {:?}", around(&arrived), around(&wanted));
        }
    }

    /// No secret is in anything that the process let out.
    async fn assert_quiet(&mut self) {
        assert!(!self.secrets.is_empty());
        let leaks = Leaks::new(self.secrets.values().map(|(name, secret)| (name.clone(), secret))).unwrap();
        let page = get(self.engine.addresses.metrics, "/metrics").await.unwrap();
        let status = get(self.engine.addresses.admin, "/v1/status").await.unwrap();
        assert!(page.contains("stage_calls") && status.contains("redaction") && self.engine.process.alive());
        self.engine.process.stop().unwrap();
        let mut all = vec![("/metrics", page.into_bytes()), ("/v1/status", status.into_bytes())];
        all.push(("an answer", std::mem::take(&mut self.answers)));
        for signal in Signal::ALL {
            let arrived = |sink: &Sink| sink.kept(signal).concat();
            all.extend([("OTLP", arrived(&self.sink)), ("OTLP/JSON", arrived(&self.json))]);
        }
        for (what, content) in all {
            assert_eq!(leaks.find(&content), None, "{what}");
        }
        assert_eq!(leaks.find_below(self.engine.directory()).unwrap(), None);
    }
}

/// Every form and detector that the place can have, but for those of which JSON would show nothing.
fn choices(place: &Place, n: u64) -> Vec<Plant> {
    let forms = Form::ALL.into_iter().filter(|form| !form.is_unreadable());
    let both = forms.flat_map(|form| Detector::ALL.map(|detector| (form, detector)));
    both.filter_map(|(form, detector)| form.plant(place, detector, n)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_place_alone_in_every_form() {
    let mut lab = Lab::start().await;
    let mut n = 0;
    for signal in Signal::ALL {
        for place in places(&lab.schema, signal).unwrap() {
            for form in Form::ALL {
                n += 1;
                let detectors = (0..11).map(|next| Detector::ALL[(n as usize + next) % 11]);
                let Some(plant) = detectors.into_iter().find_map(|detector| form.plant(&place, detector, n)) else {
                    continue;
                };
                let what = format!("{} as {form:?}: {}", place.path, plant.secret.text);
                lab.check(signal, &Plants::from([(place.path.clone(), plant)]), &what).await;
            }
        }
    }
    assert!(lab.sent > 1000, "{}", lab.sent);
    lab.assert_quiet().await;
    // What was looked through had the masked values.
    let json = Signal::ALL.map(|signal| lab.json.kept(signal).concat()).concat();
    for (what, text) in [("stdout", lab.engine.process.stdout()), ("JSON", String::from_utf8(json).unwrap())] {
        let masks = text.matches(MASK).count() as u64;
        assert!(masks > lab.sent / 4, "{what}: {masks} of {}", lab.sent);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_places_together_with_every_detector() {
    let mut lab = Lab::start().await;
    for (start, signal) in (0..).step_by(1000).zip(Signal::ALL) {
        let places = places(&lab.schema, signal).unwrap();
        let rounds = places.iter().map(|place| choices(place, 1).len()).max().unwrap();
        for round in 0..rounds {
            let mut plants = Plants::new();
            for (n, place) in (start..).zip(&places) {
                let mut choices = choices(place, n);
                let choice = (round + plants.len() * 7) % choices.len();
                plants.insert(place.path.clone(), choices.swap_remove(choice));
            }
            assert_eq!(plants.len(), places.len());
            lab.check(signal, &plants, &format!("{signal}, round {round}")).await;
        }
    }
    lab.assert_quiet().await;
}

/// Resources and scopes that came without items hold text as well.
#[tokio::test(flavor = "multi_thread")]
async fn requests_without_items_are_redacted_too() {
    let mut lab = Lab::start().await;
    for signal in Signal::ALL {
        let mut places = places(&lab.schema, signal).unwrap();
        places.retain(|place| place.holder != Holder::Unknown && place.holder != Holder::Id);
        let plants: Plants = (0..)
            .zip(&places)
            .filter_map(|(n, place)| Some((place.path.clone(), Form::Plain.plant(place, Detector::Email, n)?)))
            .collect();
        lab.note(&plants);
        let last = |request: Bytes| request.slice(last_field(&request)..);
        let planted = last(lab.request(signal, &plants, None));
        let wanted = last(lab.request(signal, &plants, Some(MASK)));
        assert!(wanted.len() < planted.len());
        assert_eq!(lab.pass(signal, planted, false, "without items").await, wanted, "{signal}");
    }
    lab.assert_quiet().await;
}

/// Where the last field of a request begins: its resource without items.
fn last_field(request: &[u8]) -> usize {
    let (mut at, mut last) = (0, 0);
    while at < request.len() {
        last = at;
        let mut rest = &request[at + 1..];
        let length = prost::encoding::decode_varint(&mut rest).unwrap() as usize;
        at = request.len() - rest.len() + length;
    }
    last
}

/// What is refused is not quoted.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_do_not_quote() {
    let mut lab = Lab::start().await;
    for (n, signal) in (0..).zip(Signal::ALL) {
        let all = places(&lab.schema, signal).unwrap();
        let plants: Plants = (n * 1000..)
            .zip(&all)
            .filter_map(|(n, place)| Some((place.path.clone(), Form::Plain.plant(place, Detector::Token, n)?)))
            .collect();
        lab.note(&plants);
        let whole = lab.request(signal, &plants, None).to_vec();
        let secret = &plants.values().next().unwrap().secret.text;
        let mut not_text = whole.clone();
        let at = whole.windows(4).position(|window| window == b"tok_").unwrap();
        not_text[at + 6] = 0xff;
        let mut bodies =
            vec![(whole[..whole.len() - 3].to_vec(), "application/x-protobuf"), (not_text, "application/x-protobuf")];
        let json = [
            format!("{{\"resourceSpans\": [{{\"{secret}\": "),
            format!("\"{secret}\""),
            format!("{{\"a\": {secret}}}"),
        ];
        bodies.extend(json.map(|text| (text.into_bytes(), "application/json")));
        bodies.push((whole.clone(), "application/json"));
        bodies.push((whole.clone(), "text/plain"));
        for (body, content_type) in bodies {
            let grpc = &mut lab.connections[0];
            if content_type == "application/x-protobuf" {
                lab.answers
                    .extend(format!("{:?}", grpc.send(signal, Bytes::from(body.clone()), BOUND).await).into_bytes());
            }
            let path = format!("{}?q={secret}", signal.http_path());
            let (status, answer) = post(lab.engine.addresses.http, &path, content_type, body.into()).await.unwrap();
            lab.answers.extend(format!("{status} ").into_bytes());
            lab.answers.extend(answer);
        }
        let (status, answer) =
            post(lab.engine.addresses.http, &format!("/v1/{secret}"), "text/plain", Bytes::new()).await.unwrap();
        assert_eq!(status, 404);
        lab.answers.extend(answer);
    }
    let answers = String::from_utf8_lossy(&lab.answers).into_owned();
    assert!(answers.matches("400 ").count() >= 12 && answers.contains("415 "), "{answers}");
    // Something for stdout.
    let harmless = lab.request(Signal::Traces, &Plants::new(), None);
    lab.connections[0].send(Signal::Traces, harmless, BOUND).await;
    lab.assert_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lookalikes_are_untouched() {
    let mut lab = Lab::start().await;
    for (seed, signal) in (1..).zip(Signal::ALL) {
        for first in 0..40 {
            let mut lookalikes = Lookalikes::new(seed * 1000 + first as u64, first);
            let body = build(&lab.schema, signal, &mut |place, number, out| {
                lookalikes.write(place, number, out);
                true
            });
            let body = Bytes::from(body.unwrap());
            let arrived = lab.pass(signal, body.clone(), false, "look-alikes").await;
            if arrived != body {
                let at = arrived.iter().zip(&body).take_while(|(a, b)| a == b).count();
                let at = at.saturating_sub(100)..(at + 100).min(body.len());
                panic!("{signal}, request {first}: {:?} was changed", String::from_utf8_lossy(&body[at]));
            }
        }
    }
    let metrics = lab.engine.settled_account(BOUND).await.unwrap();
    assert_eq!(metrics.sum("stage_faults", &[]), 0);
    assert!(metrics.sum("stage_calls", &[]) >= 120);
}
