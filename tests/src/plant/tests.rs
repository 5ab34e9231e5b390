use std::collections::BTreeSet;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use sluicebox::signal::Signal;

use super::*;

fn reencoded(signal: Signal, bytes: &[u8]) -> Vec<u8> {
    match signal {
        Signal::Traces => ExportTraceServiceRequest::decode(bytes).unwrap().encode_to_vec(),
        Signal::Metrics => ExportMetricsServiceRequest::decode(bytes).unwrap().encode_to_vec(),
        Signal::Logs => ExportLogsServiceRequest::decode(bytes).unwrap().encode_to_vec(),
    }
}

#[test]
fn requests_have_all_fields_and_are_what_the_message_types_write() {
    let schema = Schema::load().unwrap();
    for signal in Signal::ALL {
        let request = build(&schema, signal, &mut |_, _, _| false).unwrap();
        assert_eq!(reencoded(signal, &request).len(), request.len(), "{signal}");
        let places = places(&schema, signal).unwrap();
        let different: BTreeSet<_> = places.iter().collect();
        assert!(different.len() > 30, "{signal}: {} places", different.len());
    }
    let spans = places(&schema, Signal::Traces).unwrap();
    for path in [
        "resource_spans[hollow].resource.attributes.key",
        "resource_spans.scope_spans[hollow].scope.attributes.value",
        "resource_spans.resource.entity_refs.id_keys",
        "resource_spans.scope_spans.spans.links.trace_state",
        "resource_spans.scope_spans.spans.status.message",
    ] {
        assert!(spans.iter().any(|place| place.path == path), "{path}");
    }
    let points = places(&schema, Signal::Metrics).unwrap();
    let path = "resource_metrics.scope_metrics.metrics[histogram].histogram.data_points.exemplars[as_int].span_id";
    assert!(points.iter().any(|place| place.path == path && place.holder == Holder::Id));
}

/// What `forms` knows of values is all there is.
#[test]
fn values_are_of_known_kinds() {
    let value = Schema::load().unwrap().message("common.v1.AnyValue").unwrap();
    let mut kinds: Vec<_> = value.fields().map(|field| (field.number(), field.name().to_owned())).collect();
    kinds.sort_unstable();
    let kinds: Vec<_> = kinds.iter().map(|(_, name)| name.as_str()).collect();
    let known =
        ["string_value", "bool_value", "int_value", "double_value", "array_value", "kvlist_value", "bytes_value"];
    assert_eq!(kinds, [&known[..], &["string_value_strindex"]].concat());
}

#[test]
fn secrets_are_different_and_found_in_every_form() {
    let texts: BTreeSet<_> = Detector::ALL.iter().flat_map(|d| (0..3000).map(|n| d.secret(n).text)).collect();
    assert_eq!(texts.len(), 3000 * Detector::ALL.len());
    assert_eq!(Detector::Card.secret(0).text, "4111000000000008");
    assert_eq!(Detector::Card.secret_of_length(1, 16).map(|secret| secret.text.len()), Some(16));
    assert_eq!(Detector::Email.secret_of_length(1, 8).map(|secret| secret.text.len()), Some(8));

    let secret = Detector::Email.secret(5);
    let leaks = Leaks::new([("x".to_owned(), &secret)]).unwrap();
    assert_eq!(leaks.find(b"nothing of ada.4@mail-4.example.com"), None);
    for leaked in [
        "to ada.5@mail-5.example.com.",
        "to ada%2E5%40mail%2d5.example.com.",
        "to ada%252E5%2540mail%25255.example.com ada.5%2540mail-5.example.com",
        "[97, 100, 97, 46, 53, 64, 109, 97, 105, 108, 45, 53, 46, 101, 120, 97, 109, 112, 108, 101, 46, 99, 111, 109]",
        "6164612e35406d61696c2d352e6578616d706c652e636f6d",
        // "ada.5@mail-5.example.com" behind one byte and before another.
        "IWFkYS41QG1haWwtNS5leGFtcGxlLmNvbSE=",
    ] {
        assert!(leaks.find(leaked.as_bytes()).is_some(), "{leaked}");
    }
}

#[test]
fn a_plant_and_its_mask_differ_in_nothing_else() {
    let schema = Schema::load().unwrap();
    for signal in Signal::ALL {
        for place in places(&schema, signal).unwrap() {
            for form in Form::ALL {
                let Some(plant) = form.plant(&place, Detector::Card, 4) else { continue };
                let write = |mask: Option<&str>| {
                    build(&schema, signal, &mut |at, number, out| {
                        let here = *at == place;
                        if here {
                            plant.write(at, number, mask, out);
                        }
                        here
                    })
                    .unwrap()
                };
                let (planted, masked) = (write(None), write(Some("****")));
                assert_ne!(planted, masked, "{place:?} {form:?}");
                let leaks = Leaks::new([(place.path.clone(), &plant.secret)]).unwrap();
                assert!(leaks.find(&planted).is_some(), "{place:?} {form:?}");
                assert_eq!(leaks.find(&masked), None, "{place:?} {form:?}");
            }
        }
    }
}
