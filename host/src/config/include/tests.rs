use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use super::*;
use crate::config::report::Report;
use crate::config::{Loaded, load_text};

/// Files of a made-up folder.
#[derive(Default)]
struct Disk(BTreeMap<PathBuf, Vec<u8>>);

impl Disk {
    fn with(mut self, path: &str, text: impl Into<Vec<u8>>) -> Self {
        self.0.insert(path.into(), text.into());
        self
    }
}

impl Environment for Disk {
    fn variable(&self, name: &str) -> Option<String> {
        (name == "SALT").then(|| "a salt of many bytes".to_owned())
    }

    fn resolve(&self, _host: &str, _port: u16) -> Option<SocketAddr> {
        None
    }

    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        let bytes = self.0.get(&self.canonical(path)).ok_or(io::ErrorKind::NotFound)?;
        Ok(bytes[..bytes.len().min(usize::try_from(bytes_max).unwrap())].to_vec())
    }

    /// Without `..`, as no folder is a link here.
    fn canonical(&self, path: &Path) -> PathBuf {
        let mut canonical = PathBuf::new();
        for part in path.components() {
            match part {
                std::path::Component::ParentDir => {
                    canonical.pop();
                }
                part => canonical.push(part),
            }
        }
        canonical
    }
}

/// A file whose one stage has this as its config.
fn load(config: &str, disk: &Disk) -> Result<Loaded, Report> {
    let text = format!(
        "receivers: {{otlp: {{protocols: {{grpc: }}}}}}\nprocessors:\n  wasm/a:\n    component: a.wasm\n    config: {config}\n\
         exporters: {{debug: }}\nservice: {{pipelines: {{logs: {{receivers: [otlp], processors: [wasm/a], exporters: [debug]}}}}}}\n"
    );
    load_text("main.yaml".into(), text, Path::new("etc"), disk)
}

fn config(config: &str, disk: &Disk) -> String {
    load(config, disk).unwrap().config.stages[0].config.clone()
}

/// Code, file and line of each problem.
fn problems(config: &str, disk: &Disk) -> Vec<(Code, String, u32)> {
    let report = load(config, disk).unwrap_err();
    let place = |place: Place| (report.source_of(place).name().to_owned(), place.line);
    let of = |problem: &Problem| (problem.code, problem.place.map(place).unwrap_or_default());
    report.problems().iter().map(of).map(|(code, (file, line))| (code, file, line)).collect()
}

#[test]
fn what_a_file_holds_stands_in_its_place() {
    let disk = Disk::default()
        .with("etc/map.yaml", "a: 1\nb: [x, '${env:NO:-y}']\n")
        .with("etc/token", "to:ken\n")
        .with("etc/port", "4317\n")
        .with("etc/odd", "@no: {yaml\r\n")
        .with("etc/sub/outer.yaml", "inner: ${file:inner.yaml}\nup: ${file:../token}\n")
        .with("etc/sub/inner.yaml", "[1, 2]")
        .with("abs.yaml", "x: y");
    for (reference, expected) in [
        ("${file:map.yaml}", r#"{"a":1,"b":["x","y"]}"#),
        ("\"${file:./map.yaml}\"", r#"{"a":1,"b":["x","y"]}"#),
        ("{m: '${file:map.yaml}', n: '${file:map.yaml}'}", r#"{"m":{"a":1,"b":["x","y"]},"n":{"a":1,"b":["x","y"]}}"#),
        ("{<<: '${file:map.yaml}', a: 2}", r#"{"a":2,"b":["x","y"]}"#),
        ("{t: '${file:token}', p: '${file:port}', o: '${file:odd}'}", r#"{"t":"to:ken","p":4317,"o":"@no: {yaml"}"#),
        ("{t: \"Bearer ${file:token}!\", p: !!str \"${file:port}\"}", r#"{"t":"Bearer to:ken!","p":"4317"}"#),
        ("${file:sub/outer.yaml}", r#"{"inner":[1,2],"up":"to:ken"}"#),
        ("{a: &x '${file:map.yaml}', b: *x}", r#"{"a":{"a":1,"b":["x","y"]},"b":{"a":1,"b":["x","y"]}}"#),
        ("{a: '$${file:map.yaml}'}", r#"{"a":"${file:map.yaml}"}"#),
    ] {
        assert_eq!(config(reference, &disk), expected, "{reference}");
    }
}

#[test]
fn an_included_file_says_itself_what_is_wrong_with_it() {
    let disk = Disk::default()
        .with("etc/bad.yaml", "a: 1\nb: [\n")
        .with("etc/twice.yaml", "a: 1\na: 2\nb: ${env:1}\n")
        .with("etc/empty.yaml", "# nothing yet\n")
        .with("etc/latin.yaml", b"a: 1\nb: \xe9\n".to_vec())
        .with("etc/two.yaml", "a: 1\n---\nb: 1\n")
        .with("etc/nested.yaml", "x: 1\ny: ${file:absent.yaml}\n");
    for (file, expected) in [
        ("bad.yaml", vec![(Code::Syntax, "etc/bad.yaml", 3)]),
        ("twice.yaml", vec![(Code::DuplicateKey, "etc/twice.yaml", 2), (Code::BadReference, "etc/twice.yaml", 3)]),
        ("empty.yaml", vec![(Code::Empty, "etc/empty.yaml", 1)]),
        ("latin.yaml", vec![(Code::NotText, "etc/latin.yaml", 2)]),
        ("two.yaml", vec![(Code::SeveralDocuments, "etc/two.yaml", 2)]),
        ("nested.yaml", vec![(Code::Unreadable, "etc/nested.yaml", 2)]),
        ("absent.yaml", vec![(Code::Unreadable, "main.yaml", 5)]),
        ("a${env:SALT}", vec![(Code::BadReference, "main.yaml", 5)]),
        ("", vec![(Code::BadReference, "main.yaml", 5)]),
    ] {
        let found = problems(&format!("${{file:{file}}}"), &disk);
        let found: Vec<_> = found.iter().map(|(code, file, line)| (*code, file.as_str(), *line)).collect();
        assert_eq!(found, expected, "{file}");
    }
}

#[test]
fn a_cycle_is_shown_as_a_chain() {
    let disk = Disk::default()
        .with("etc/a.yaml", "b: ${file:sub/b.yaml}")
        .with("etc/sub/b.yaml", "a: ${file:../a.yaml}")
        .with("etc/main.yaml", "never read");
    let report = load("${file:a.yaml}", &disk).unwrap_err();
    let [problem] = report.problems() else { panic!("{report}") };
    assert_eq!(problem.code, Code::IncludeCycle);
    assert_eq!(problem.detail.as_deref(), Some("etc/a.yaml -> etc/sub/b.yaml -> etc/sub/../a.yaml"));
    assert!(report.to_string().contains("--> etc/sub/b.yaml:1:4\n"), "{report}");
    let report = load("${file:main.yaml}", &disk).unwrap_err();
    assert_eq!(report.problems()[0].detail.as_deref(), Some("main.yaml -> etc/main.yaml"));
}

#[test]
fn bounds_hold_at_their_edges() {
    let many = |count: usize| (0..count).fold(Disk::default(), |disk, n| disk.with(&format!("etc/{n}"), "x: 1"));
    let list = |count: usize| (0..count).map(|n| format!("'${{file:{n}}}', ")).collect::<String>();
    let code = |config: &str, disk: &Disk| load(config, disk).err().map(|report| report.problems()[0].code);
    let all = many(INCLUDED_FILES_MAX + 1);
    assert_eq!(code(&format!("[{}]", list(INCLUDED_FILES_MAX).repeat(2)), &all), None);
    assert_eq!(code(&format!("[{}]", list(INCLUDED_FILES_MAX + 1)), &all), Some(Code::TooManyFiles));

    let chain = |length: usize| {
        let link = |disk: Disk, n: usize| disk.with(&format!("etc/{n}"), format!("x: ${{file:{}}}", n + 1));
        (0..length - 1).fold(Disk::default(), link).with(&format!("etc/{}", length - 1), "x: 1")
    };
    assert_eq!(code("${file:0}", &chain(INCLUDE_DEPTH_MAX)), None);
    assert_eq!(code("${file:0}", &chain(INCLUDE_DEPTH_MAX + 1)), Some(Code::TooDeep));

    let size = usize::try_from(crate::config::FILE_BYTES_MAX).unwrap();
    let large = |size: usize| Disk::default().with("etc/large", format!("x: {}", "y".repeat(size - 3)));
    assert_eq!(code("${file:large}", &large(size)), None);
    assert_eq!(code("${file:large}", &large(size + 1)), Some(Code::TooLarge));
    let times = usize::try_from(INCLUDED_BYTES_MAX).unwrap() / size;
    assert_eq!(code(&format!("[{}]", "'${file:large}', ".repeat(times)), &large(size)), None);
    assert_eq!(code(&format!("[{}]", "'${file:large}', ".repeat(times + 1)), &large(size)), Some(Code::TooManyFiles));

    let nodes = Disk::default().with("etc/nodes", format!("[{}]", "1,".repeat(parse::NODES_MAX / 2)));
    assert_eq!(code("${file:nodes}", &nodes), None);
    assert_eq!(code("['${file:nodes}', '${file:nodes}']", &nodes), Some(Code::TooManyNodes));
}

#[test]
fn the_digest_covers_structure_and_no_secret() {
    let disk = |rules: &str, token: &str| Disk::default().with("etc/rules", rules).with("etc/token", token);
    let digest = |disk: &Disk| load("{rules: '${file:rules}', token: '${file:token}'}", disk).unwrap().digest;
    let base = digest(&disk("a: 1", "x"));
    assert_eq!(digest(&disk("a: 1", "x")), base);
    assert_eq!(digest(&disk("a: 1", "y")), base);
    assert_ne!(digest(&disk("a: 2", "x")), base);
}

#[test]
fn every_file_is_told_those_that_could_not_be_read_too() {
    let disk = Disk::default().with("etc/outer", "x: ${file:inner}").with("etc/inner", "1").with("etc/odd", "a: [\n");
    let read = |config: &str| -> Vec<(String, bool)> {
        let report = load(config, &disk).map_or_else(|report| report, |loaded| loaded.report);
        let read = report.files().read().iter();
        read.map(|(path, digest)| (path.display().to_string(), digest.is_some())).collect()
    };
    let told =
        |files: &[(&str, bool)]| files.iter().map(|(file, is_read)| ((*file).to_owned(), *is_read)).collect::<Vec<_>>();
    assert_eq!(read("${file:outer}"), told(&[("etc/inner", true), ("etc/outer", true)]));
    assert_eq!(read("['${file:odd}', '${file:gone}']"), told(&[("etc/gone", false), ("etc/odd", true)]));
}
