use super::*;

const BYTES_MAX: u64 = 64 << 10;

fn entry(number: u64) -> Entry {
    Entry {
        at_unix_milli: 1,
        pipeline: "traces".to_owned(),
        stage: "wasm/a".to_owned(),
        generation: number,
        digest: "0".repeat(64),
        fault: "trap",
        outcome: Outcome::Rejected,
        signal: "traces",
        items: 1,
        bytes: 2,
        ids: vec![Id { trace_id: "1".repeat(32), span_id: "2".repeat(16) }],
        payload: None,
    }
}

/// Writes entries one after another, waits until they are dealt with, and ends.
fn write(path: &Path, entries: impl IntoIterator<Item = Entry>) -> String {
    let metrics = Metrics::new();
    let to_json: ToJson = |_signal, body| Some([b"{\"body\":", body, b"}"].concat());
    let letters = DeadLetters::start(path.to_owned(), BYTES_MAX, true, to_json, &metrics).expect("a thread");
    let left_out = ["unwritable", "too_large"].map(|reason| metrics.dead_letter_left_out(reason));
    for (entry, number) in entries.into_iter().zip(1..) {
        letters.put(entry);
        let dealt_with =
            || metrics.dead_letter_entries.get() + left_out.iter().map(|counter| counter.get()).sum::<u64>();
        let end = std::time::Instant::now() + Duration::from_secs(60);
        while dealt_with() < number {
            assert!(std::time::Instant::now() < end, "{}", metrics.text());
            std::thread::yield_now();
        }
    }
    drop(letters);
    metrics.text()
}

fn numbers(path: &Path) -> Vec<u64> {
    let text = fs::read_to_string(path).expect("is there");
    let number = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
        value["generation"].as_u64().expect("a number")
    };
    text.lines().map(number).collect()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn entries_are_lines_that_only_their_owner_may_read() {
    let folder = folder();
    let path = folder.path().join("dead.jsonl");
    let payload = Entry { payload: Some((Signal::Traces, b"[5]".to_vec())), ..entry(2) };
    write(&path, [entry(1), payload]);
    let text = fs::read_to_string(&path).expect("is there");
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines[0]["ids"][0]["span_id"], "2".repeat(16));
    assert_eq!((&lines[0]["outcome"], lines[0].get("payload")), (&"rejected".into(), None));
    assert_eq!(lines[1]["payload"]["body"][0], 5);
    assert_eq!(fs::metadata(&path).expect("is there").mode() & 0o777, 0o600);
}

#[test]
fn what_others_could_read_is_closed_to_them() {
    let folder = folder();
    let path = folder.path().join("dead.jsonl");
    fs::write(&path, "").expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("set");
    write(&path, [entry(1)]);
    assert_eq!(fs::metadata(&path).expect("is there").mode() & 0o777, 0o600);
    assert_eq!(numbers(&path), [1]);
}

#[test]
fn both_files_hold_no_more_than_they_may_and_the_newest_entries_are_there() {
    let folder = folder();
    let path = folder.path().join("dead.jsonl");
    let count = 2000;
    write(&path, (1..=count).map(entry));
    let size = |path: &Path| fs::metadata(path).expect("is there").len();
    assert!(size(&path) + size(&before(&path)) <= BYTES_MAX);
    let all = [numbers(&before(&path)), numbers(&path)].concat();
    assert!(all.len() > 90, "{}", all.len());
    let newest: Vec<_> = (1..=count).skip(count as usize - all.len()).collect();
    assert_eq!(all, newest, "in their order, none of them missing");
}

#[test]
fn what_finds_no_room_is_left_out_and_counted() {
    let (folder, metrics) = (folder(), Metrics::new());
    let path = folder.path().join("dead.jsonl");
    let letters = DeadLetters::start(path, BYTES_MAX, false, |_, _| None, &metrics).expect("a thread");
    for number in 0..100_000 {
        letters.put(entry(number));
    }
    drop(letters);
    let (written, left_out) = (metrics.dead_letter_entries.get(), metrics.dead_letter_left_out("queue_full").get());
    assert_eq!(written + left_out, 100_000);
    assert!(left_out > 0, "the queue is bounded");
}

#[test]
fn what_cannot_be_written_is_counted_and_written_again_when_it_can_be() {
    let folder = folder();
    let target = folder.path().join("target");
    fs::write(&target, "kept").expect("written");
    let (link, missing) = (folder.path().join("link"), folder.path().join("no/such/folder"));
    std::os::unix::fs::symlink(&target, &link).expect("linked");
    for path in [&link, &missing, &folder.path().to_owned()] {
        let metrics = write(path, [entry(1), entry(2)]);
        assert!(metrics.contains("sluicebox_dead_letter_left_out_entries_total{reason=\"unwritable\"} 2"), "{metrics}");
    }
    assert_eq!(fs::read_to_string(&target).expect("is there"), "kept", "links are not followed");
    fs::create_dir_all(missing.parent().expect("a folder")).expect("made");
    write(&missing, [entry(3)]);
    assert_eq!(numbers(&missing), [3]);
}

#[test]
fn an_entry_that_no_file_holds_is_counted() {
    let folder = folder();
    let path = folder.path().join("dead.jsonl");
    let large = Entry { payload: Some((Signal::Logs, vec![b'1'; BYTES_MAX as usize])), ..entry(1) };
    let metrics = write(&path, [large, entry(2)]);
    assert!(metrics.contains("sluicebox_dead_letter_left_out_entries_total{reason=\"too_large\"} 1"), "{metrics}");
    assert_eq!(numbers(&path), [2]);
}
