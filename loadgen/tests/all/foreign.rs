//! Servers of somebody else's: the one of the documentation, and one that has no positions.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::helper::{Folder, beside, loadgen};

const PAGE: &str = include_str!("../../../docs/your-server.md");
const LOAD: &str = "--clients 120 --rate 2 --interval 200ms --publishers 4 --warmup 500ms --duration 3s --json --quiet";

/// A program in Python, which prints its port.
struct Server {
    child: Child,
    port: String,
    _folder: Folder,
}

impl Server {
    fn start(name: &str, program: &str) -> Self {
        let folder = Folder::new(name);
        let path = folder.0.join("server.py");
        std::fs::write(&path, program).unwrap();
        let mut command = Command::new("python3");
        command
            .arg(&path)
            .arg("0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        // It says there who has gone.
        command.stderr(Stdio::null());
        let mut child = command
            .spawn()
            .expect("python3 is installed: apt-get install python3");
        let mut port = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut port)
            .unwrap();
        Self {
            child,
            port: port.trim().to_owned(),
            _folder: folder,
        }
    }

    fn measure(&self, arguments: &str) -> (i32, Value) {
        let (port, pid) = (&self.port, self.child.id());
        let target =
            format!("--url http://127.0.0.1:{port} --dialect workbench --server-pid {pid}");
        let mut command = loadgen(&format!("{arguments} {LOAD} {target}"));
        let output = command
            .args(["--header", "Authorization: Bearer secret-of-the-test"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            !text.contains("secret-of-the-test"),
            "the value of a header is in no result"
        );
        let json: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {output:?}"));
        (output.status.code().unwrap(), json)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program of the documentation.
fn documented() -> &'static str {
    PAGE.split("```python\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("a program in Python")
}

#[test]
fn the_server_of_the_documentation_is_measured_on_every_transport_that_it_has() {
    let _turn = beside();
    let server = Server::start("documented", documented());
    for mode in ["short-poll", "long-poll", "sse"] {
        let (code, json) = server.measure(&format!("--mode {mode}"));
        let trial = &json["trials"][0];
        let (outcome, metrics) = (&trial["outcome"], &trial["metrics"]);
        assert_eq!(code, 0, "{mode}: {}", outcome["failures"]);
        assert!(
            // 720 in the mean, of 36 messages of a Poisson schedule: fewer than 13 of them come once in 100,000 runs.
            outcome["expected"].as_u64() > Some(250) && outcome["expected"] == outcome["delivered"],
            "{mode}: {} of {}",
            outcome["delivered"],
            outcome["expected"]
        );
        assert_eq!(
            outcome["audit"]["expected"], outcome["audit"]["received"],
            "{mode}"
        );
        assert!(
            metrics["server_cpu_us"].as_f64() > Some(0.0),
            "{mode}: the process was read: {metrics}"
        );
        assert_eq!(
            trial["target"]["foreign"],
            format!("127.0.0.1:{}", server.port),
            "{mode}"
        );
        assert!(
            json["command"]
                .as_str()
                .unwrap()
                .contains("--header 'Authorization: ...'"),
            "{}",
            json["command"]
        );
    }
}

/// The same without a seq, cursors and answers to publishes; it leaves every tenth message of a room out.
fn without_positions() -> String {
    let changes = [
        (r#"{"seq": seq, "text": text}"#, r#"{"text": text}"#),
        (r#"b'{"cursor": "x-%d"}' % seq"#, r#"b"thanks""#),
        (
            r#"b'event: hello\ndata: {"cursor": "x-%d"}\n\n' % seen"#,
            r#"b'event: hello\ndata: {}\n\n'"#,
        ),
        (
            r#"f"id: x-{one['seq']}\ndata: {json.dumps(one)}\n\n""#,
            r#"f"data: {json.dumps(one)}\n\n""#,
        ),
        (
            "for one in new: ",
            "for one in (one for one in new if int(one['text'][:8], 16) % 10): ",
        ),
    ];
    changes
        .iter()
        .fold(documented().to_owned(), |program, (from, to)| {
            assert!(program.contains(from), "{from} is in the program");
            program.replace(from, to)
        })
}

#[test]
fn a_server_without_positions_is_audited_by_the_ids_of_messages() {
    let _turn = beside();
    let server = Server::start("positions", &without_positions());
    let (code, json) = server.measure("--mode sse");
    let audit = &json["trials"][0]["outcome"]["audit"];
    let [expected, received, lost] =
        ["expected", "received", "lost"].map(|name| audit[name].as_u64().unwrap());
    // Six rooms of twenty, about seven messages each: the first of each is left out, and every tenth after it.
    assert!(
        code == 1 && received + lost == expected && (120..=240).contains(&lost),
        "{audit}"
    );
    assert_eq!(
        (&audit["reordered"], &audit["doubled"], &audit["unexpected"]),
        (&0.into(), &0.into(), &0.into())
    );
}

#[test]
fn a_header_that_cannot_be_is_refused_without_its_value() {
    for header in [
        "secret-of-the-test",
        "Authorization: secret\nof-the-test",
        "a b: secret-of-the-test",
    ] {
        let mut command = loadgen("--mode ws --url http://127.0.0.1:1");
        let output = command.args(["--header", header]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.contains("--header") && !said.contains("secret"),
            "{said}"
        );
    }
}

#[test]
fn an_ordinary_server_is_started_and_measured_like_any_other() {
    let _turn = beside();
    for mode in ["ws-stock", "sse-stock"] {
        let output = loadgen(&format!("--mode {mode} {LOAD}")).output().unwrap();
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let trial = &json["trials"][0];
        assert_eq!(
            output.status.code(),
            Some(0),
            "{mode}: {}",
            trial["outcome"]["failures"]
        );
        assert_eq!(trial["target"], "stock", "{mode}");
        assert!(trial["outcome"]["expected"].as_u64() > Some(300), "{mode}");
        assert_eq!(
            trial["outcome"]["expected"], trial["outcome"]["delivered"],
            "{mode}"
        );
        assert!(
            trial["metrics"]["server_cpu_us"].as_f64() > Some(0.0),
            "{mode}"
        );
        assert!(
            trial["metrics"]["server_memory_kib"].as_f64() > Some(0.0),
            "{mode}"
        );
    }
}
