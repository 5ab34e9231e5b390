//! A configuration as it may be shown: what may be a secret is not in it.
//!
//! Hidden are what came from an environment variable or from a file with one value, headers, keys of keyed hashes, what stands under a key
//! that is named like a credential, and addresses with a password. What a component's own configuration hides under another name nobody
//! can know: such a value belongs into an environment variable.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::tree::{Node, Value};

/// What stands in the place of a secret.
const SECRET: &str = "(secret)";
/// Under these keys every value is one: `headers` of exporters, `keys` of stages.
const SECRET_GROUPS: [&str; 2] = ["headers", "keys"];
/// Keys that hold one of these words, in lower case.
const SECRET_WORDS: [&str; 11] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "authorization",
    "api_key",
    "apikey",
    "private_key",
    "hmac_key",
];

/// Both views of one file.
#[derive(Clone, Debug, Default)]
pub struct Shown(Arc<Views>);

#[derive(Debug, Default)]
struct Views {
    source: Json,
    resolved: Json,
}

/// How a file is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// As it is written, files that it includes in their places.
    Source,
    /// With references replaced, of which only that they are is shown.
    Resolved,
}

/// How a file can be shown is no part of what it says.
impl PartialEq for Shown {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Shown {
    pub(super) fn of(root: &Node) -> Shown {
        let view = |view| shown(root, view, false);
        Shown(Arc::new(Views { source: view(View::Source), resolved: view(View::Resolved) }))
    }

    /// The file's tree.
    pub fn view(&self, view: View) -> &Json {
        match view {
            View::Source => &self.0.source,
            View::Resolved => &self.0.resolved,
        }
    }
}

fn shown(node: &Node, view: View, is_secret: bool) -> Json {
    let hidden = || Json::String(SECRET.to_owned());
    match (&node.value, &node.substituted) {
        (Value::List(items), _) => items.iter().map(|item| shown(item, view, is_secret)).collect(),
        (Value::Map(entries), _) => Json::Object(
            entries
                .iter()
                .map(|entry| {
                    let value = shown(&entry.value, view, is_secret || names_secret(&entry.key));
                    (entry.key.clone(), value)
                })
                .collect::<Map<_, _>>(),
        ),
        (Value::Null, None) => Json::Null,
        _ if is_secret => hidden(),
        // The names of variables and files are no secrets; a default is written in the file like any other value.
        (_, Some(substituted)) if view == View::Source && !has_password(&substituted.written) => {
            Json::String(substituted.written.clone())
        }
        (_, Some(_)) => hidden(),
        (Value::Text(text), None) if has_password(text) => hidden(),
        _ => serde_json::to_value(node).unwrap_or_default(),
    }
}

fn names_secret(key: &str) -> bool {
    let key = key.to_lowercase().replace('-', "_");
    SECRET_GROUPS.contains(&key.as_str()) || SECRET_WORDS.iter().any(|word| key.contains(word))
}

/// `scheme://user:password@host`.
fn has_password(text: &str) -> bool {
    let authority = text.split_once("://").map(|(_, rest)| rest.split('/').next().unwrap_or_default());
    authority.is_some_and(|authority| authority.contains('@'))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::SocketAddr;
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::config::{Environment, load_text};

    struct Given;

    impl Environment for Given {
        fn variable(&self, name: &str) -> Option<String> {
            (name == "PLACE").then(|| "hidden-place".to_owned())
        }

        fn resolve(&self, _host: &str, _port: u16) -> Option<SocketAddr> {
            None
        }

        fn read(&self, path: &Path, _bytes_max: u64) -> io::Result<Vec<u8>> {
            match path.file_name().and_then(|name| name.to_str()) {
                Some("one") => Ok(b"hidden-one".to_vec()),
                Some("list.yaml") => Ok(b"- {key: a, action: insert, value: shown-in-a-file}".to_vec()),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        }
    }

    const FILE: &str = "\
receivers: {otlp: {protocols: {grpc: }}}
processors:
  attributes/a: {actions: \"${file:list.yaml}\"}
  attributes/b: {actions: [{key: b, action: insert, value: \"${env:PLACE}\"}, {key: c, action: insert, value: \"${file:one}\"}]}
  wasm/c: {component: c.wasm, config: {api-key: hidden-two, nested: {Password: [hidden-three]}, url: 'https://u:hidden-four@h/x', plain: 5}}
exporters: {otlp: {endpoint: 'http://${env:PLACE}:4317', headers: {Authorization: Bearer hidden-five, x-plain: hidden-six}, tls: {insecure: true}}}
service: {pipelines: {traces: {receivers: [otlp], processors: [attributes/a, attributes/b, wasm/c], exporters: [otlp]}}}
";

    #[test]
    fn no_secret_is_shown_in_either_view() {
        let loaded = load_text("test.yaml".into(), FILE.into(), Path::new(""), &Given).expect("is valid");
        let shown = &loaded.config.shown;
        for view in [View::Source, View::Resolved] {
            let text = shown.view(view).to_string();
            assert!(!text.contains("hidden"), "{view:?}: {text}");
            assert!(text.contains("shown-in-a-file") && text.contains("\"plain\":5"), "{view:?}: {text}");
        }
        let source = shown.view(View::Source);
        assert_eq!(source["processors"]["attributes/b"]["actions"][0]["value"], json!("${env:PLACE}"));
        assert_eq!(source["exporters"]["otlp"]["endpoint"], json!("http://${env:PLACE}:4317"));
        assert_eq!(
            source["exporters"]["otlp"]["headers"],
            json!({ "Authorization": "(secret)", "x-plain": "(secret)" })
        );
        let resolved = shown.view(View::Resolved);
        assert_eq!(resolved["processors"]["attributes/b"]["actions"][0]["value"], json!("(secret)"));
        assert_eq!(resolved["exporters"]["otlp"]["endpoint"], json!("(secret)"));
        assert_eq!(resolved["service"], source["service"]);
    }
}
