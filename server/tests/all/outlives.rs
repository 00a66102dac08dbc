//! The server outlives its log, its terminal and who reads it: a line that cannot be written harms nobody.

use std::fs::File;
use std::io::{PipeReader, Write, pipe};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::helper::{Api, RAW_HOST};
use crate::program::{binary, output, program, signal, started};
use crate::raw::{PATIENCE, Raw, RawWs};

/// As much as a pipe holds by default.
const PIPE: usize = 64 * 1024;

/// A pipe that is full, and its end that nobody reads.
fn full_pipe() -> (PipeReader, Stdio) {
    let (reader, mut writer) = pipe().unwrap();
    writer.write_all(&[b'\n'; PIPE]).unwrap();
    (reader, writer.into())
}

fn full_disk() -> Stdio {
    File::create("/dev/full").unwrap().into()
}

fn api(line: &str) -> Api {
    Api::at(line.trim().parse().expect("an address"))
}

/// Ends it: exit code 0, in the time that a drain may take and a second for the last lines.
async fn ends(child: Child, by: Signal) {
    signal(&child, by);
    let begun = Instant::now();
    assert_eq!(output(child).await.status.code(), Some(0), "{by:?}");
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
}

/// Has the server warn of one connection too many, and serve the one it has all the same.
async fn warns_and_serves(api: &Api) -> Raw {
    let mut kept = Raw::connect(api.addr).await;
    // Until the one before is gone, this is one too many.
    let let_in = async {
        while kept.get("/healthz").await.status != 200 {
            kept = Raw::connect(api.addr).await;
        }
    };
    timeout(PATIENCE, let_in)
        .await
        .expect("there is room again");
    for _ in 0..3 {
        assert_eq!(
            Raw::connect(api.addr).await.get("/healthz").await.status,
            503
        );
    }
    assert_eq!(kept.get("/healthz").await.status, 200);
    kept
}

async fn lost(kept: &mut Raw) -> u64 {
    let stats: serde_json::Value =
        serde_json::from_str(&kept.get("/stats").await.body).expect("JSON");
    stats["log_lines_lost"].as_u64().expect("a count")
}

#[tokio::test]
async fn a_warning_that_cannot_be_written_is_lost_and_counted_and_nothing_else_happens() {
    let (_nobody, stuck) = full_pipe();
    let (gone, writer) = pipe().unwrap();
    drop(gone);
    for (what, stderr, counted) in [
        ("a reader that has gone", writer.into(), 1),
        ("a full disk", full_disk(), 1),
        ("a reader that does not read", stuck, 0),
    ] {
        let (child, line) =
            started(binary("--port 0 --print-addr --max-connections 1").stderr(stderr)).await;
        let mut kept = warns_and_serves(&api(&line)).await;
        let counts = async { while lost(&mut kept).await != counted {} };
        timeout(PATIENCE, counts)
            .await
            .unwrap_or_else(|_| panic!("{what}: not {counted} lost"));
        let metrics = kept.get("/metrics").await.body;
        assert!(
            metrics.contains(&format!("\nworkbench_log_lines_lost_total {counted}\n")),
            "{what}: {metrics}"
        );
        drop(kept);
        ends(child, Signal::TERM).await;
    }
}

#[tokio::test]
async fn a_closed_standard_error_or_output_changes_nothing() {
    for closed in ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"] {
        // An address of its own, for nobody can be told the port.
        let host = "127.0.0.8";
        let port = std::net::TcpListener::bind((host, 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let script = format!(
            r#"exec "$0" --host {host} --port {port} --print-addr --max-connections 1 {RAW_HOST} {closed}"#
        );
        let mut command = Command::new("sh");
        command
            .args(["-c", &script, program()])
            .kill_on_drop(true)
            .stdin(Stdio::null());
        let child = command.spawn().unwrap();
        let api = Api::at(format!("{host}:{port}").parse().unwrap());
        listens(&api).await;
        drop(warns_and_serves(&api).await);
        ends(child, Signal::TERM).await;
    }
}

async fn listens(api: &Api) {
    let listens = async {
        // Asked of the kernel: a connection made to see it would take the one place that there is.
        let listening = format!(":{:04X} 00000000:0000 0A ", api.addr.port());
        while !std::fs::read_to_string("/proc/net/tcp")
            .unwrap()
            .contains(&listening)
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, listens).await.expect("it listens");
}

#[tokio::test]
async fn an_address_that_cannot_be_printed_keeps_nobody_from_being_served() {
    let (_nobody, stuck) = full_pipe();
    for (stdout, stderr) in [(stuck, full_disk()), (full_disk(), Stdio::null())] {
        let host = "127.0.0.8";
        let port = std::net::TcpListener::bind((host, 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let flags = format!("--host {host} --port {port} --print-addr");
        let child = binary(&flags)
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap();
        let api = Api::at(format!("{host}:{port}").parse().unwrap());
        listens(&api).await;
        assert_eq!(api.get("/healthz").await.status, 200);
        ends(child, Signal::TERM).await;
    }
    // Where it cannot listen, the reason is lost and the exit code is not.
    let (_nobody, stuck) = full_pipe();
    for stderr in [stuck, full_disk()] {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let flags = format!("--port {}", taken.local_addr().unwrap().port());
        let refused = output(binary(&flags).stderr(stderr).spawn().unwrap()).await;
        assert_eq!(refused.status.code(), Some(2));
    }
    for (flags, code) in [("--nonsense", 2), ("--help", 0)] {
        let child = binary(flags)
            .stdout(full_disk())
            .stderr(full_disk())
            .spawn()
            .unwrap();
        assert_eq!(output(child).await.status.code(), Some(code), "{flags}");
    }
}

#[tokio::test]
async fn a_log_that_is_read_late_keeps_no_request_waiting_and_says_how_many_lines_it_lacks() {
    let (mut child, line) = started(&mut binary("--port 0 --print-addr --log debug")).await;
    let mut raw = Raw::connect(api(&line).addr).await;
    // A line each, of about 100 bytes: a pipe full of them, a queue full, and hundreds more.
    const REQUESTS: usize = 3000;
    for _ in 0..REQUESTS / 100 {
        raw.send("GET /nowhere HTTP/1.1\r\nhost: test\r\n\r\n".repeat(100))
            .await;
        for _ in 0..100 {
            assert_eq!(raw.answer().await.expect("an answer").status, 404);
        }
    }
    let lost = lost(&mut raw).await;
    assert!(lost > 100, "{lost} lost: this test shows nothing");
    let mut said = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    signal(&child, Signal::TERM);
    timeout(PATIENCE, stderr.read_to_string(&mut said))
        .await
        .expect("it ends")
        .unwrap();
    assert_eq!(output(child).await.status.code(), Some(0));
    let told: Vec<u64> = said
        .lines()
        .filter_map(|line| line.split(" lost=").nth(1)?.parse().ok())
        .collect();
    let refused = said
        .lines()
        .filter(|line| line.contains("a request was refused"))
        .count();
    assert_eq!(
        (told, refused + lost as usize),
        (vec![lost], REQUESTS),
        "{said}"
    );
}

#[tokio::test]
async fn the_end_of_the_terminal_is_a_drain_unless_it_was_to_be_ignored() {
    let (child, line) = started(&mut binary("--port 0 --print-addr")).await;
    let mut ws = RawWs::open(api(&line).addr, "").await;
    ws.hello().await;
    signal(&child, Signal::HUP);
    assert_eq!(ws.close_code().await, 1012);
    drop(ws);
    assert_eq!(output(child).await.status.code(), Some(0));

    let mut nohup = Command::new("nohup");
    nohup
        .args([program(), "--port", "0", "--print-addr"])
        .kill_on_drop(true);
    nohup
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let (child, line) = started(&mut nohup).await;
    signal(&child, Signal::HUP);
    assert_eq!(api(&line).get("/healthz").await.status, 200);
    ends(child, Signal::TERM).await;
}

#[tokio::test]
async fn a_terminal_of_any_kind_shows_the_lines_that_a_pipe_gets() {
    for term in ["dumb", "xterm-256color", ""] {
        let mut command = Command::new("script");
        let server = format!("{} --port 0 --print-addr --log debug", program());
        command
            .args(["-qefc", &server, "/dev/null"])
            .env("TERM", term)
            .kill_on_drop(true);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let (mut child, line) = started(&mut command).await;
        assert_eq!(api(&line).get("/nowhere").await.status, 404);
        let line = " DEBUG a request was refused asked=\"GET /nowhere\" status=404\r\n";
        let (mut said, shown) = (Vec::new(), child.stdout.as_mut().unwrap());
        let is_shown = async {
            while !String::from_utf8_lossy(&said).contains(line) {
                assert!(
                    shown.read_buf(&mut said).await.unwrap() > 0,
                    "{term}: {said:?}"
                );
            }
        };
        timeout(PATIENCE, is_shown)
            .await
            .expect("the terminal shows it");
        // Ctrl-C, typed. Not before: `script` may end with its child, without what the child has said last.
        tokio::io::AsyncWriteExt::write_all(child.stdin.as_mut().unwrap(), b"\x03")
            .await
            .unwrap();
        said.extend(output(child).await.stdout);
        let said = String::from_utf8(said).unwrap();
        assert_eq!(
            said.replace("^C", "").lines().count(),
            1,
            "{term}: {said:?}"
        );
    }
}
