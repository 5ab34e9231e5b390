//! Who may ask for what, on loopback and on the Unix socket.

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;

use serde_json::json;
use sluicebox_tests::config::drop_spans_json;
use sluicebox_tests::engine::binary;

use crate::support::{STAGE, ask, bearer, by_socket, change, engine, generation, socket};

const BROWSER: &str = "http://evil.example";

#[tokio::test(flavor = "multi_thread")]
async fn reads_are_open_to_this_machine_and_changes_need_the_token() {
    let engine = engine().await;
    assert_eq!(ask(&engine, "GET", "/v1/status", &[], "").await.status, 200);
    assert_eq!(ask(&engine, "HEAD", "/v1/status", &[], "").await.status, 200);
    let body = json!({ "stage": STAGE }).to_string();
    let content = || ("content-type", "application/json".to_owned());
    let almost = bearer(&engine).1.replace(|c: char| c.is_ascii_digit(), "a");
    for wrong in ["", "Bearer ", "Basic abc", &almost, &format!("{}0", bearer(&engine).1)] {
        let headers = [content(), ("authorization", wrong.to_owned())];
        let answer = ask(&engine, "POST", "/v1/swap?wait=true", &headers, &body).await;
        assert_eq!(answer.refused(), (401, "E0520".to_owned()), "{wrong}");
    }
    assert_eq!(ask(&engine, "POST", "/v1/swap", &[content()], &body).await.refused(), (401, "E0520".to_owned()));
    assert_eq!(generation(&engine, STAGE).await, 1, "nothing was changed");
    assert_eq!(ask(&engine, "POST", "/v1/swap?wait=true", &[content(), bearer(&engine)], &body).await.status, 200);
    assert_eq!(generation(&engine, STAGE).await, 2);
}

/// A page that a browser was led to names its own host, or an origin; neither gets anything, with the token or without.
#[tokio::test(flavor = "multi_thread")]
async fn foreign_pages_get_nothing() {
    let engine = engine().await;
    let foreign = [("host", "evil.example:13131".to_owned())];
    let origin = [("origin", BROWSER.to_owned())];
    let own_origin = [("origin", format!("http://{}", engine.addresses.admin))];
    for headers in [&foreign[..], &origin[..], &own_origin[..]] {
        for (method, path) in [("GET", "/v1/status"), ("POST", "/v1/swap"), ("OPTIONS", "/v1/swap"), ("GET", "/livez")]
        {
            for with_token in [false, true] {
                let mut headers = headers.to_vec();
                headers.extend(with_token.then(|| bearer(&engine)));
                let answer = ask(&engine, method, path, &headers, "{}").await;
                assert_eq!(answer.refused(), (403, "E0521".to_owned()), "{method} {path} {headers:?}");
                assert_eq!(answer.header("access-control-allow-origin"), "");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn get_never_changes_anything() {
    let engine = engine().await;
    for (path, allow) in [
        ("/v1/swap", "POST"),
        ("/v1/rollback", "POST"),
        ("/v1/reload", "POST"),
        ("/v1/drain", "POST"),
        ("/v1/components", "POST"),
        ("/v1/log-level", "PUT"),
    ] {
        for headers in [vec![], vec![bearer(&engine)]] {
            let answer = ask(&engine, "GET", path, &headers, "").await;
            assert_eq!(answer.refused(), (405, "E0522".to_owned()), "{path}");
            assert_eq!(answer.header("allow"), allow, "{path}");
            assert!(answer.json()["help"].as_str().unwrap().contains(allow), "{answer:?}");
        }
    }
    let answer = change(&engine, "POST", "/v1/status", &json!({})).await;
    assert_eq!((answer.refused(), answer.header("allow")), ((405, "E0522".to_owned()), "GET"));
    assert_eq!(generation(&engine, STAGE).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_told_with_what_is_near() {
    let engine = engine().await;
    let answer = ask(&engine, "GET", "/v1/stauts", &[], "").await;
    assert_eq!(answer.refused(), (404, "E0523".to_owned()));
    assert!(answer.json()["help"].as_str().unwrap().contains("/v1/status"), "{answer:?}");
    let answer = change(&engine, "POST", "/v1/swap?wait=true", &json!({ "stage": "filter/helth" })).await;
    assert_eq!(answer.refused(), (404, "E0507".to_owned()));
    assert!(answer.json()["error"].as_str().unwrap().contains(STAGE), "{answer:?}");
    let answer = change(&engine, "POST", "/v1/rollback", &json!({ "stage": STAGE, "to": 7 })).await;
    assert_eq!(answer.refused(), (404, "E0507".to_owned()));
}

/// Answers of the API are kept by nobody, framed by nobody, and taken for nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_its_security_headers() {
    let engine = engine().await;
    for path in ["/v1/status", "/v1/absent", "/v1/swap", "/readyz"] {
        let answer = ask(&engine, "GET", path, &[], "").await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert!(answer.header("content-security-policy").contains("default-src 'none'"), "{path}");
    }
}

/// The kernel says who asks: no token, and no name that somebody gives himself.
#[tokio::test(flavor = "multi_thread")]
async fn on_the_socket_the_user_is_who_asks() {
    let engine = engine().await;
    let known = std::fs::metadata(socket(&engine)).unwrap();
    assert!(known.file_type().is_socket());
    assert_eq!(known.permissions().mode() & 0o777, 0o600);
    let swap = json!({ "stage": STAGE, "config": serde_json::from_str::<serde_json::Value>(&drop_spans_json("name == \"x\"")).unwrap() });
    let answer = by_socket(&engine, "POST", "/v1/swap?wait=true", &swap).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let claimed =
        [bearer(&engine), ("content-type", "application/json".to_owned()), ("x-sluicebox-user", "mallory".to_owned())];
    let back = ask(&engine, "POST", "/v1/rollback", &claimed, &json!({ "stage": STAGE }).to_string()).await;
    assert_eq!(back.status, 200, "{back:?}");
    let operations = ask(&engine, "GET", "/v1/operations", &[], "").await.json();
    let who = |place: usize| operations["operations"][place]["who"].as_str().unwrap().to_owned();
    let uid = rustix::process::geteuid().as_raw();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find(|line| line.split(':').nth(2) == Some(&uid.to_string()));
    let name = name.and_then(|line| line.split(':').next()).map_or_else(|| format!("uid {uid}"), str::to_owned);
    assert_eq!(who(0), format!("api ({name})"));
    assert_eq!(who(1), "api (mallory, as it says)", "a claim looks like no proof");
}

/// Even where somebody opens the folder and the socket to all: the engine looks at who it is.
#[tokio::test(flavor = "multi_thread")]
async fn another_user_is_refused_on_the_socket() {
    if !rustix::process::geteuid().is_root() {
        // Only root can be somebody else.
        return;
    }
    let engine = engine().await;
    let open = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let program = engine.directory().join("sluicebox");
    std::fs::copy(binary().unwrap(), &program).unwrap();
    open(engine.directory(), 0o755);
    open(&engine.directory().join("state"), 0o755);
    open(&program, 0o755);
    open(&socket(&engine), 0o666);
    let as_nobody = |arguments: &[&str]| {
        let mut command = std::process::Command::new(&program);
        command.args(arguments).env("SLUICEBOX_ADMIN", format!("unix:{}", socket(&engine).display()));
        command.env("SLUICEBOX_STATE_DIR", "/nonexistent").uid(65_534).gid(65_534).output().unwrap()
    };
    for arguments in [&["operations"][..], &["rollback", STAGE], &["drain"]] {
        let done = as_nobody(arguments);
        let stderr = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(1), "{arguments:?}: {stderr}");
        assert!(stderr.starts_with("error[E0520]: this socket is for the user that the engine runs as"), "{stderr}");
    }
    assert_eq!(generation(&engine, STAGE).await, 1);
}

/// A socket that a crash left there does not stop the next engine, and is gone after a stop.
#[tokio::test(flavor = "multi_thread")]
async fn a_socket_is_there_as_long_as_its_engine() {
    let mut engine = engine().await;
    let path = socket(&engine);
    assert!(path.exists());
    assert!(engine.process.stop().unwrap().success());
    assert!(!path.exists(), "a stop takes it away");
    let text = std::fs::read_to_string(engine.config_file()).unwrap();
    let again = sluicebox_tests::engine::Engine::start_in(&[], |directory, addresses| {
        let own = directory.join("state");
        std::fs::create_dir(&own)?;
        let here = own.join(format!("admin-{}.sock", addresses.admin.port()));
        drop(std::os::unix::net::UnixListener::bind(&here)?);
        assert!(here.exists(), "as a crash leaves it");
        let text = text.lines().skip(1).collect::<Vec<_>>().join("\n");
        let text = text.replace(&engine.addresses.grpc.to_string(), "$GRPC");
        let text = text.replace(&engine.addresses.http.to_string(), "$HTTP");
        Ok(std::fs::write(
            directory.join("sluicebox.yaml"),
            addresses.fill(&text.replace(&engine.addresses.metrics.to_string(), "$METRICS")),
        )?)
    });
    let again = again.await.unwrap();
    assert_eq!(by_socket(&again, "GET", "/v1/status", &json!({})).await.status, 200);
}
