//! Known answers: a delay put into the server comes out of the measurement, and polling is as theory has it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use loadgen::judge::theory::answers;
use loadgen::result::comparison::Comparison;
use loadgen::result::outcome::Outcome;
use loadgen::result::variant::Transport;

use crate::helper::{TestServer, alone, beside, faulty};
use crate::others::Others;

const POINTS: usize = 1000;
/// What is to be found within 1 ms on a calm machine; twice that here.
const SLACK_MS: f64 = 2.0;

fn run(arguments: &str, server_flags: &str) -> Comparison {
    let mut command = faulty(&format!("{arguments} --json --quiet --server-flags"));
    let output = command.arg(server_flags).output().expect("loadgen starts");
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The latencies of a trial against a server with this delay, as this many quantiles in milliseconds.
fn latencies(transport: Transport, delay: &str) -> Vec<f64> {
    let load = "--clients 40 --rate 50 --interval 50ms --warmup 500ms --duration 4s";
    let comparison = run(
        &format!("--mode {transport} {load}"),
        &format!("--inject-delay {delay}"),
    );
    comparison.trials[0].outcome.latency.points(POINTS)
}

/// The first Wasserstein distance of two samples of one size, each given as its quantiles in order: how far, on
/// average, one has to be moved to be the other.
fn w1(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / a.len().max(1) as f64
}

/// The distribution of a sum of two independent quantities, as this many quantiles.
fn sum_of(a: &[f64], b: &[f64], points: usize) -> Vec<f64> {
    let mut sums: Vec<f64> = a
        .iter()
        .flat_map(|a| b.iter().map(move |b| a + b))
        .collect();
    sums.sort_unstable_by(f64::total_cmp);
    let at = |i: usize| ((i as f64 + 0.5) / points as f64 * sums.len() as f64) as usize;
    (0..points)
        .filter_map(|i| sums.get(at(i)).copied())
        .collect()
}

/// Once more if it does not hold at once; and up to five times where others were seen on the machine.
fn soon(what: &str, holds: impl Fn() -> Result<(), String>) {
    let _turn = alone();
    let mut misses = Vec::new();
    loop {
        let others = Others::watch();
        let Err(miss) = holds() else { return };
        misses.push((miss, others.seen()));
        let calm = misses.iter().filter(|(_, others)| others.is_none()).count();
        assert!(calm < 2 && misses.len() < 5, "{what}: {misses:?}");
    }
}

#[test]
fn an_injected_delay_comes_out_of_every_transport() {
    const MEAN: f64 = 20.0;
    let exponential: Vec<f64> = (0..200)
        .map(|i| -MEAN * (1.0 - (f64::from(i) + 0.5) / 200.0).ln())
        .collect();
    for transport in Transport::all() {
        for (flag, injected) in [("20ms", &vec![MEAN]), ("exp:20ms", &exponential)] {
            soon(&format!("{transport}, {flag}"), || {
                let (base, delayed) = (latencies(transport, "0ms"), latencies(transport, flag));
                let distance = w1(&delayed, &sum_of(&base, injected, POINTS));
                eprintln!("{transport}, {flag}: W1 {distance:.3} ms");
                if distance <= SLACK_MS {
                    Ok(())
                } else {
                    Err(format!("{distance} ms"))
                }
            });
        }
    }
}

#[test]
fn short_polling_is_as_theory_has_it() {
    let load =
        "--mode short-poll --clients 200 --rate 2 --interval 500ms --warmup 1s --duration 8s";
    soon("short polling", || {
        let comparison = run(load, "");
        let outcome: &Outcome = &comparison.trials[0].outcome;
        let checks = answers(outcome, &comparison.scenario);
        assert_eq!(
            checks
                .iter()
                .filter(|check| check.tolerance.is_some())
                .count(),
            3,
            "KS, requests, empties"
        );
        let differ: Vec<_> = checks
            .iter()
            .filter(|check| check.holds() == Some(false))
            .collect();
        if differ.is_empty() {
            Ok(())
        } else {
            Err(format!("{differ:?}"))
        }
    });
}

/// The bytes of the head of an answer to this request; it stays open.
fn head(server: SocketAddr, request: &str) -> usize {
    let mut stream = TcpStream::connect(server).unwrap();
    write!(stream, "GET {request}\r\nhost: {server}\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    let mut size = 0;
    loop {
        let mut line = String::new();
        size += reader.read_line(&mut line).unwrap();
        if line == "\r\n" {
            return size;
        }
    }
}

/// A message of a load of this payload, with a seq of two digits.
fn message(payload: usize) -> usize {
    r#"{"seq":12,"from":"loadgen","text":"","at":1763900000000}"#.len() + payload
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_per_delivery_are_those_of_the_formats() {
    const CURSOR: &str = "abcdefgh-12";
    const PAYLOAD: usize = 128;
    let _turn = tokio::task::block_in_place(beside);
    let server = TestServer::start("");
    let path = "/short-poll?room=lobby";
    let full = head(server.addr, &format!("{path} HTTP/1.1"));
    let epoch = epoch_of(server.addr);
    let known = format!("{path}&after={epoch}-0 HTTP/1.1\r\nif-none-match: \"{epoch}-0\"");
    let empty = head(server.addr, &known);
    for transport in Transport::usual() {
        let load = "--clients 60 --rate 10 --interval 200ms --headers minimal --payload 128";
        let comparison = run(
            &format!("--mode {transport} {load} --warmup 500ms -z 3s"),
            "",
        );
        let usage = &comparison.trials[0].outcome.usage;
        let (traffic, deliveries) = (usage.traffic, usage.deliveries as f64);
        let answers = traffic.answers() as f64;
        let around = full + r#"{"cursor":"","messages":[]}"#.len() + CURSOR.len();
        let polled = deliveries * (message(PAYLOAD) + 1) as f64
            + answers * (around - 1) as f64
            + traffic.empties as f64 * empty as f64;
        let down = match transport {
            Transport::Ws => deliveries * (message(PAYLOAD) + 4) as f64,
            Transport::Sse => {
                deliveries * (message(PAYLOAD) + CURSOR.len() + "id: \ndata: \n\n".len()) as f64
            }
            _ => polled,
        };
        let wait = if transport == Transport::LongPoll {
            "&wait=25000ms"
        } else {
            ""
        };
        let question = format!(
            "GET /{transport}?room=lg-abcdef-0&after={CURSOR}{wait} HTTP/1.1\r\nif-none-match: \"{CURSOR}\"\r\n\r\n"
        );
        let up =
            traffic.requests as f64 * (question.len() as u64 + usage.request_headers[1]) as f64;
        // Numbers of one digit or three are in it, too, and at the window's edges a question without its answer.
        let mut ways = vec![("down", down, traffic.bytes_in)];
        if !transport.properties().streams {
            ways.push(("up", up, traffic.bytes_out));
        }
        for (way, predicted, measured) in ways {
            let apart = (measured as f64 - predicted).abs() / predicted.max(1.0);
            assert!(
                apart < 0.02,
                "{transport}, {way}: {measured}, and {predicted} by the formats"
            );
        }
    }
}

/// The epoch of a server's lobby.
fn epoch_of(server: SocketAddr) -> String {
    let mut stream = TcpStream::connect(server).unwrap();
    let request = "GET /short-poll?room=lobby HTTP/1.1\r\nconnection: close";
    write!(stream, "{request}\r\nhost: {server}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, cursor) = answer.split_once("{\"cursor\":\"").unwrap();
    cursor[..8].to_owned()
}

#[test]
fn a_shift_is_its_own_distance_and_sums_have_the_sum_of_the_means() {
    let even: Vec<f64> = (0..100).map(|i| f64::from(i) / 10.0).collect();
    let moved: Vec<f64> = even.iter().map(|x| x + 2.5).collect();
    assert!((w1(&even, &moved) - 2.5).abs() < 1e-9);
    let sums = sum_of(&even, &even, 50);
    assert!((sums.iter().sum::<f64>() / 50.0 - 9.9).abs() < 0.05);
}
