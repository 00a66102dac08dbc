//! Round after round of churn against the server as a process of its own; after each, when everybody has gone, it must
//! hold what it held before. A few seconds in the tests; `tests/soak.sh` runs it for minutes.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::program::Program;
use crate::raw::{BINARY, CLOSE, Raw, RawWs, TEXT};

/// Short, so that a round has several of each; and windows that are full after the first.
const FLAGS: &str =
    "--write-deadline 300ms --idle-deadline 10s --heartbeat 2s --retain-messages 10 --log off";
const ROUND: Duration = Duration::from_secs(1);
/// Who has not come to an end this long after the round's hangs.
const HANGS: Duration = Duration::from_secs(30);
/// This many of each kind at once.
const ACTORS: usize = 10;
const ROOMS: usize = 4;
/// Memory may differ by so much: allocators keep what they like.
const SLACK_KIB: f64 = 2048.0;

/// What the server held at the end of a round.
#[derive(Clone, Copy, Debug)]
struct Sample {
    minute: f64,
    memory: f64,
    descriptors: f64,
    tasks: f64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn churn_leaves_nothing_behind() {
    let seconds = std::env::var("SOAK_SECONDS").map_or(6, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("SOAK_SECONDS must be a whole number, found {text:?}"))
    });
    let (server, start) = (Program::start(FLAGS).await, Instant::now());
    let mut samples = Vec::new();
    while start.elapsed() < Duration::from_secs(seconds) || samples.len() < 6 {
        round(&server, samples.len() as u64).await;
        let stats = server.stats().await;
        samples.push(Sample {
            minute: start.elapsed().as_secs_f64() / 60.0,
            memory: server.memory("RssAnon") as f64,
            descriptors: server.descriptors() as f64,
            tasks: stats["tasks"].as_f64().unwrap(),
        });
        if samples.len().is_multiple_of(20) {
            println!("{:?}", samples.last().unwrap());
        }
    }
    let stats = server.stats().await;
    let count = |name: &str| stats["connections"][name].as_u64().unwrap();
    println!(
        "{} connections, {} cut, {} gaps",
        count("accepted"),
        count("slow_closes"),
        stats["gaps"]
    );
    assert!(
        count("slow_closes") > 0 && stats["gaps"].as_u64() > Some(0),
        "some are cut, some miss what they are told"
    );
    // The first quarter is warming up: windows fill, the allocator finds its size.
    let settled = &samples[samples.len() / 4..];
    let grown = [
        growth("memory", "KiB", settled, |sample| sample.memory, SLACK_KIB),
        growth("descriptors", "", settled, |sample| sample.descriptors, 0.5),
        // Each kind of problem may have a task that waits to sum it up.
        growth("tasks", "", settled, |sample| sample.tasks, 5.5),
    ];
    assert_eq!(grown, [false; 3], "{samples:?}");
}

/// Prints the slope between the two halves' medians; whether it is more than noise.
fn growth(
    what: &str,
    unit: &str,
    samples: &[Sample],
    value: fn(&Sample) -> f64,
    slack: f64,
) -> bool {
    let median = |half: &[Sample], of: fn(&Sample) -> f64| {
        let mut values: Vec<f64> = half.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        // Of two in the middle the lower: in a short run the other may be a connection that is just going.
        values[(values.len() - 1) / 2]
    };
    let (first, last) = samples.split_at(samples.len() / 2);
    let (from, to) = (median(first, value), median(last, value));
    let minutes = median(last, |sample| sample.minute) - median(first, |sample| sample.minute);
    println!(
        "{what}: {from} {unit}, then {to}; slope {:+.1} {unit} a minute",
        (to - from) / minutes
    );
    to - from > slack
}

/// A second of everything at once; returns when the server knows that all have gone.
async fn round(server: &Program, number: u64) {
    let (addr, end) = (server.addr, Instant::now() + ROUND);
    let mut actors = JoinSet::new();
    for n in 0..ACTORS {
        let random = fastrand::Rng::with_seed(number << 16 | n as u64);
        actors.spawn(timeout(HANGS, resume(addr, end, random.clone())));
        actors.spawn(timeout(HANGS, stream(addr, end, random.clone())));
        actors.spawn(timeout(HANGS, poll(addr, end, random.clone())));
        actors.spawn(timeout(HANGS, misbehave(addr, end, random)));
        actors.spawn(timeout(HANGS, never_read(addr, end, n % 2 == 0)));
    }
    actors.spawn(timeout(HANGS, publish(addr, end, 0, "x".repeat(60_000))));
    for room in 1..ROOMS {
        actors.spawn(timeout(HANGS, publish(addr, end, room, "hi".into())));
    }
    while let Some(ended) = actors.join_next().await {
        ended.expect("no actor panics").expect("no actor hangs");
    }
    server
        .until("all have gone", |stats| {
            stats["connections"]["open"] == 1 && stats["subscribers"] == 0
        })
        .await;
}

/// Comes, reads on where it was, goes in one way or another; what it gets has no hole but the gaps it is told.
async fn resume(addr: std::net::SocketAddr, end: Instant, mut random: fastrand::Rng) {
    let room = random.usize(0..ROOMS);
    let mut cursor: Option<(String, u64)> = None;
    while Instant::now() < end {
        let after = cursor
            .as_ref()
            .map_or("&after=latest".into(), |(epoch, seq)| {
                format!("&after={epoch}-{seq}")
            });
        let mut ws = RawWs::open(addr, &format!("?room={room}{after}")).await;
        let hello = ws.hello().await;
        let (epoch, at) = hello.split_once('-').expect("a cursor");
        let (mut seq, mut told) = (
            at.parse().unwrap(),
            cursor.is_none_or(|(_, seen)| seen.to_string() == at),
        );
        for _ in 0..random.usize(0..20) {
            // Nothing new; or it was away for so long that it was cut.
            let Ok(Some(frame)) = timeout(Duration::from_millis(50), ws.frame()).await else {
                break;
            };
            let frame = frame.json();
            if let Some(cursor) = frame["gap"]["cursor"].as_str() {
                (seq, told) = (cursor.rsplit('-').next().unwrap().parse().unwrap(), true);
                continue;
            }
            seq += 1;
            assert!(
                told && frame["seq"] == seq,
                "{frame} is not {seq}, or a gap was not told"
            );
        }
        cursor = told.then(|| (epoch.to_owned(), seq));
        // Some stay away for longer than the window reaches back.
        sleep(Duration::from_millis(random.u64(0..400))).await;
        if random.bool() {
            ws.try_send(CLOSE, 1000_u16.to_be_bytes()).await;
            ws.0.rest().await;
        }
    }
}

async fn stream(addr: std::net::SocketAddr, end: Instant, mut random: fastrand::Rng) {
    while Instant::now() < end {
        let mut raw = Raw::connect(addr).await;
        raw.send(format!(
            "GET /sse?room={} HTTP/1.1\r\nhost: test\r\n\r\n",
            random.usize(0..ROOMS)
        ))
        .await;
        let _ = timeout(Duration::from_millis(random.u64(0..100)), raw.rest()).await;
    }
}

/// Polls at once or held, on one connection; now and then it goes while it is held.
async fn poll(addr: std::net::SocketAddr, end: Instant, mut random: fastrand::Rng) {
    while Instant::now() < end {
        let (mut raw, room) = (Raw::connect(addr).await, random.usize(0..ROOMS));
        for _ in 0..random.usize(1..10) {
            let answer = raw
                .get(&format!("/short-poll?room={room}&after=latest"))
                .await;
            let answer: Value = serde_json::from_str(&answer.body).unwrap();
            let cursor = answer["cursor"].as_str().unwrap().to_owned();
            raw.send(format!(
                "GET /long-poll?room={room}&after={cursor}&wait=10s HTTP/1.1\r\nhost: test\r\n\r\n"
            ))
            .await;
            if timeout(Duration::from_millis(random.u64(0..100)), raw.answer())
                .await
                .is_err()
            {
                break;
            }
        }
    }
}

/// What no client should do, and each is cut or refused for it.
async fn misbehave(addr: std::net::SocketAddr, end: Instant, mut random: fastrand::Rng) {
    let half_a_post = "POST /messages HTTP/1.1\r\nhost: test\r\ncontent-length: 1000\r\n\r\n{";
    while Instant::now() < end {
        match random.usize(0..6) {
            0 => drop(Raw::connect(addr).await),
            1 => Raw::connect(addr).await.send("GET /half").await,
            2 => Raw::connect(addr).await.send(half_a_post).await,
            3 => {
                let mut raw = Raw::connect(addr).await;
                raw.try_send("\x16\x03\x01 is no HTTP\r\n\r\n".repeat(100))
                    .await;
                raw.rest().await;
            }
            4 => {
                let mut ws = RawWs::open(addr, "").await;
                ws.send(BINARY, "hi").await;
                assert_eq!(ws.close_code().await, 1003);
            }
            _ => {
                let mut ws = RawWs::open(addr, "").await;
                ws.send(TEXT & 0x7f, "a beginning without end").await;
            }
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Asks for far more than fits between the two, or listens, and stays to the end though it was cut long before.
async fn never_read(addr: std::net::SocketAddr, end: Instant, listens: bool) {
    let mut raw = Raw::connect_narrow(addr).await;
    if listens {
        raw = RawWs::over(raw, "?room=0").await.0;
    } else {
        raw.send("GET /short-poll?room=0 HTTP/1.1\r\nhost: test\r\n\r\n".repeat(40))
            .await;
    }
    tokio::time::sleep_until(end).await;
    drop(raw);
}

async fn publish(addr: std::net::SocketAddr, end: Instant, room: usize, text: String) {
    let body = json!({ "from": "ann", "text": text }).to_string();
    let head = format!(
        "POST /messages?room={room} HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut raw = Raw::connect(addr).await;
    while Instant::now() < end {
        raw.send(format!("{head}{body}")).await;
        assert_eq!(raw.answer().await.expect("an answer").status, 201);
        sleep(Duration::from_millis(5)).await;
    }
}
