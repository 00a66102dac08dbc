//! Who is to blame: a panic of loadgen's own, a server that cuts its clients or restarts, and the idle close that is
//! nobody's fault.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use loadgen::client::{Failure, Http, Repeat, Setup};
use loadgen::result::variant::Headers;
use serde_json::Value;
use tokio::io::copy_bidirectional;
use tokio::sync::watch;

use crate::helper::{Running, TestServer, beside, failing, loadgen, setup};

/// A short load over several connections, and a trial that ends by itself.
const LOAD: &str =
    "--clients 16 --room-size 4 --rate 10 --interval 200ms --publishers 2 --warmup 300ms";

fn trial(output: &std::process::Output) -> Value {
    let json: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    json["trials"][0].clone()
}

#[test]
fn a_panic_in_any_part_of_loadgen_breaks_the_trial_as_loadgens() {
    let _turn = beside();
    let run = |part: &'static str| {
        move || {
            let begun = Instant::now();
            let arguments = format!("--mode ws {LOAD} --duration 1m --panic-in {part} --json");
            let output = loadgen(&arguments)
                .env_remove("RUST_BACKTRACE")
                .output()
                .unwrap();
            (part, output, begun.elapsed())
        }
    };
    let runs = ["client", "publisher", "pacer", "ticker"].map(|part| std::thread::spawn(run(part)));
    for (part, output, time) in runs.map(|run| run.join().unwrap()) {
        let (trial, said) = (trial(&output), String::from_utf8_lossy(&output.stderr));
        let reason = trial["outcome"]["end"]["broken"]
            .as_str()
            .unwrap_or_else(|| panic!("{part}: {trial}"));
        assert!(
            reason.starts_with("loadgen broke: the thread "),
            "{part}: {reason}"
        );
        assert!(
            reason
                .to_lowercase()
                .contains(&format!("provoked in {part}")),
            "{part}: the panic's text: {reason}"
        );
        assert_eq!(
            (output.status.code(), &trial["verdict"]["kind"]),
            (Some(1), &"broken".into()),
            "{part}"
        );
        assert_eq!(
            trial["outcome"]["audit"]["lost"], 0,
            "{part}: nothing of it is the server's"
        );
        assert!(
            time < Duration::from_secs(30),
            "{part}: at once, and not after a minute: {time:?}"
        );
        assert!(
            !said.contains("RUST_BACKTRACE") && !said.contains("provoke\n"),
            "{part}: {said}"
        );
    }
    let mut command = loadgen(&format!(
        "--mode ws {LOAD} --duration 1m --panic-in client --json"
    ));
    let output = command.env("RUST_BACKTRACE", "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("provoke\n"),
        "who asks for a backtrace gets it: {said}"
    );
}

/// A proxy before a server, that cuts its clients when it is told to, and goes on to another server.
struct Front {
    addr: SocketAddr,
    back: watch::Sender<SocketAddr>,
}

impl Front {
    async fn start(server: SocketAddr) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, back) = (listener.local_addr().unwrap(), watch::Sender::new(server));
        let ear = back.subscribe();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut ear = ear.clone();
                tokio::spawn(async move {
                    let addr = *ear.borrow_and_update();
                    let Ok(mut far) = tokio::net::TcpStream::connect(addr).await else {
                        return;
                    };
                    let _ = (near.set_nodelay(true), far.set_nodelay(true));
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = ear.changed() => {}
                    }
                });
            }
        });
        Self { addr, back }
    }
}

/// A trial whose connections are all cut while it measures, and what comes of it.
async fn cut(mode: &'static str, front: &Front, next: SocketAddr) -> (i32, Value) {
    let addr = front.addr;
    let start = move || {
        Running::start(&format!(
            "--mode {mode} {LOAD} --duration 4s --url http://{addr}"
        ))
    };
    let running = tokio::task::spawn_blocking(start).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    front.back.send_replace(next);
    tokio::task::spawn_blocking(|| running.end()).await.unwrap()
}

/// What only shows that the machine was busy with other tests meanwhile.
fn is_of_the_server(check: &str) -> bool {
    check.starts_with("connections") || check.starts_with("clients")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cuts_its_clients_or_restarts_has_a_bad_outcome_in_a_trial_that_is_judged() {
    let _turn = tokio::task::block_in_place(beside);
    let servers = [TestServer::start(""), TestServer::start("")];
    let [first, second] = [servers[0].addr, servers[1].addr];
    let run = async |(mode, next): (&'static str, SocketAddr)| {
        let (code, trial) = cut(mode, &Front::start(first).await, next).await;
        let checks = trial["verdict"]["checks"]
            .as_array()
            .is_some_and(|checks| checks.len() > 10);
        assert!(
            trial["outcome"]["end"] == "completed" && checks,
            "{mode}: it is judged: {trial}"
        );
        assert!(
            !failing(&trial).iter().any(|check| is_of_the_server(check)),
            "{mode}: and not loadgen's: {trial}"
        );
        let [lost, cut] =
            ["lost", "cut"].map(|name| trial["outcome"]["connections"][name].as_u64().unwrap());
        (mode, code, lost, cut, trial)
    };
    for (mode, code, lost, cut, trial) in
        join_all(["ws", "sse", "long-poll"].map(|mode| run((mode, first)))).await
    {
        // A long poll may be cut between two questions.
        let all = if mode == "long-poll" { 1..=16 } else { 16..=16 };
        assert!(
            code == 1 && lost == cut && all.contains(&cut),
            "{mode}: {code}, {lost} lost, {cut} cut: {trial}"
        );
        assert_eq!(
            trial["outcome"]["audit"]["lost"], 0,
            "{mode}: who comes back gets the rest"
        );
    }
    for (mode, code, .., trial) in
        join_all(["ws", "short-poll"].map(|mode| run((mode, second)))).await
    {
        assert_eq!(
            (code, &trial["outcome"]["restarts"]),
            (1, &1.into()),
            "{mode}: {trial}"
        );
    }
    // Between two requests a server may close what it likes: said, and no failure.
    let (_, code, lost, _, trial) = run(("short-poll", first)).await;
    assert_eq!((code, lost), (0, 0), "{trial}");
    assert!(
        trial["outcome"]["usage"]["life"]["reconnects"].as_u64() > Some(0),
        "{trial}"
    );
}

/// Reads a message of HTTP with its body; nothing at the end.
fn message(from: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let (mut whole, mut length) = (Vec::new(), 0);
    loop {
        let begin = whole.len();
        if from.read_until(b'\n', &mut whole).ok()? == 0 {
            return None;
        }
        let line = String::from_utf8_lossy(&whole[begin..]).to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line == "\r\n" {
            let begin = whole.len();
            whole.resize(begin + length, 0);
            from.read_exact(&mut whole[begin..]).ok()?;
            return Some(whole);
        }
    }
}

/// Longer than the 100 ms from which on loadgen takes a connection for one that may be closed.
const RESTED: Duration = Duration::from_millis(150);

/// A proxy that closes a connection which has rested just when its next request has come, as an idle close may cross
/// it. The server has had the request, so that the answer is all that is lost.
fn closes_what_has_rested(server: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (addr, requests) = (
        listener.local_addr().unwrap(),
        Arc::<AtomicUsize>::default(),
    );
    let seen = Arc::clone(&requests);
    let relay = move |near: TcpStream, seen: &AtomicUsize| -> Option<()> {
        let far = TcpStream::connect(server).ok()?;
        let (mut requests, mut answers) = (
            BufReader::new(near.try_clone().ok()?),
            BufReader::new(far.try_clone().ok()?),
        );
        let mut rests = Instant::now();
        for i in 0.. {
            let request = message(&mut requests)?;
            let has_rested = i > 0 && rests.elapsed() > RESTED;
            seen.fetch_add(1, Relaxed);
            (&far).write_all(&request).ok()?;
            let answer = message(&mut answers)?;
            if has_rested {
                break;
            }
            (&near).write_all(&answer).ok()?;
            if String::from_utf8_lossy(&answer).contains("text/event-stream") {
                std::io::copy(&mut answers, &mut &near).ok()?;
            }
            rests = Instant::now();
        }
        near.shutdown(Shutdown::Both).ok()
    };
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let seen = Arc::clone(&seen);
            std::thread::spawn(move || relay(near, &seen));
        }
    });
    (addr, requests)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_meets_an_idle_close_is_sent_again_and_nothing_is_doubled() {
    let _turn = tokio::task::block_in_place(beside);
    let server = TestServer::start("");
    let (addr, _) = closes_what_has_rested(server.addr);
    let run = move |mode| {
        let load = "--clients 16 --room-size 4 --rate 1 --arrivals fixed --publishers 4 --interval 200ms --warmup 1s";
        let arguments =
            format!("--mode {mode} {load} --duration 3s --json --quiet --url http://{addr}");
        loadgen(&arguments).output().unwrap()
    };
    for mode in ["short-poll", "sse"] {
        let output = tokio::task::spawn_blocking(move || run(mode))
            .await
            .unwrap();
        let trial = trial(&output);
        let outcome = &trial["outcome"];
        assert_eq!(output.status.code(), Some(0), "{mode}: {trial}");
        assert!(
            outcome["expected"].as_u64() > Some(0) && outcome["expected"] == outcome["delivered"],
            "{mode}: {trial}"
        );
        assert_eq!(
            (
                &outcome["audit"]["doubled"],
                &outcome["connections"]["lost"]
            ),
            (&0.into(), &0.into()),
            "{mode}"
        );
        let publishing = &outcome["publishing"];
        assert_eq!(
            (&publishing["failed"], &publishing["indeterminate"]),
            (&0.into(), &0.into()),
            "{mode}: {trial}"
        );
        let retries = [&publishing["retries"], &outcome["usage"]["life"]["retries"]]
            .map(|n| n.as_u64().unwrap());
        assert!(
            retries[0] > 0 && (retries[1] > 0) == (mode == "short-poll"),
            "{mode}: {retries:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_without_a_key_is_never_sent_again() {
    let server = TestServer::start("");
    let (addr, requests) = closes_what_has_rested(server.addr);
    let setup = Setup {
        headers: Headers::Minimal,
        ..setup(addr, "blame")
    };
    for (draft, repeat) in [
        (r#"{"from":"test","text":"once"}"#, Repeat::Never),
        (
            r#"{"from":"test","text":"once","key":"k"}"#,
            Repeat::Harmless,
        ),
    ] {
        let mut http = Http::connect(&setup, "").await.unwrap();
        let before = requests.load(Relaxed);
        let mut publish = async || {
            http.publish(
                "/messages?room=blame".parse().unwrap(),
                draft.into(),
                repeat,
            )
            .await
        };
        let first = publish().await.unwrap();
        // Less than a server lets a connection rest, but enough to be idle.
        tokio::time::sleep(RESTED * 2).await;
        let second = publish().await;
        match repeat {
            Repeat::Never => assert!(matches!(second, Err(Failure::Io(_))), "{second:?}"),
            Repeat::Harmless => assert_eq!(
                second.as_ref(),
                Ok(&first),
                "the same key has the same cursor"
            ),
        }
        let sent = requests.load(Relaxed) - before;
        assert_eq!(sent, if repeat == Repeat::Never { 2 } else { 3 });
    }
    assert_eq!(setup.meter.totals().retries, 1);
}
