//! Connections that break anywhere: whoever comes back with its cursor misses nothing and gets nothing twice, over every
//! transport.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::future::join_all;
use loadgen::client::{Client, Http, Repeat, Setup, Visitor, visit};
use loadgen::result::variant::Transport;
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

use crate::helper::{Running, TestServer, beside, setup};
use crate::path::{End, Fate, Path};
use crate::reader::Reader;

/// After so long without a word a client gives its connection up.
const GIVE_UP: Duration = Duration::from_millis(250);
/// Longer than anything here takes by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads a room to this message, and comes back as often as it must; how often it did.
struct Reads {
    setup: Setup,
    last: u64,
    /// The longest that it may take for all, however often it is cut.
    most: Duration,
}

impl Visitor for Reads {
    type Output = Pin<Box<dyn Future<Output = usize> + Send>>;

    fn visit<C: Client>(self) -> Self::Output {
        let Self { setup, last, most } = self;
        Box::pin(async move {
            let reading = async {
                let (mut reader, mut returns) = (Reader::default(), 0);
                while reader.seq < last {
                    returns += 1;
                    let Some(mut client) = reader.connect::<C>(&setup, GIVE_UP).await else {
                        continue;
                    };
                    while reader.seq < last && reader.read(&mut client, GIVE_UP).await {}
                }
                assert_eq!(reader.told, 0, "the server is the same");
                returns - 1
            };
            let read = timeout(most, reading).await;
            read.unwrap_or_else(|_| panic!("{} does not read on", std::any::type_name::<C>()))
        })
    }
}

/// Publishes as many messages to a room, past all that happens on the path.
async fn publish(server: &TestServer, room: &str, count: u64, pause: Duration) {
    let setup = setup(server.addr, room);
    let mut publisher = Http::connect(&setup, "").await.unwrap();
    for n in 0..count {
        let path = format!("/messages?room={room}").parse().unwrap();
        let draft = format!(r#"{{"from":"test","text":"message {n}"}}"#);
        let published = publisher.publish(path, draft, Repeat::Never).await;
        published.unwrap();
        if !pause.is_zero() {
            sleep(pause).await;
        }
    }
}

/// Cuts what reads four messages once, at each byte there is.
async fn cut_at_every_byte(transport: Transport, server: &TestServer) {
    let next = Arc::new(Mutex::new(Fate::NONE));
    let taken = Arc::clone(&next);
    let path = Path::to(server.addr, move || {
        std::mem::replace(&mut *taken.lock(), Fate::NONE)
    })
    .await;
    let reads = || Reads {
        setup: setup(path.addr, "cuts"),
        last: 4,
        most: PATIENCE,
    };
    assert_eq!(visit(transport, reads()).await, 0, "{transport}: uncut");
    let (down, up) = (path.down.load(Relaxed), path.up.load(Relaxed));
    assert!(down > 100 && up > 100, "{transport}: {down} and {up} bytes");
    for n in 0..down + up {
        let end = [End::Fin, End::Rst][n % 2];
        let cut = Fate { end, ..Fate::NONE };
        *next.lock() = if n < down {
            Fate { down: n, ..cut }
        } else {
            Fate {
                up: n - down,
                ..cut
            }
        };
        visit(transport, reads()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_is_cut_at_any_byte_goes_on_where_it_was() {
    let _turn = tokio::task::block_in_place(beside);
    let server = TestServer::start("");
    publish(&server, "cuts", 4, Duration::ZERO).await;
    for transport in Transport::all() {
        cut_at_every_byte(transport, &server).await;
    }
}

/// What `CUTS_SECONDS` says, or this.
const SECONDS: u64 = 4;
const PER_SECOND: u64 = 200;
/// All that is published stays: who is slow is not to be told of a gap.
const RETAINS: &str = "--retain-messages 1000000 --retain-bytes 256MiB";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_cuts_splits_and_falls_silent_at_random_loses_nothing() {
    let _turn = tokio::task::block_in_place(beside);
    let seconds = std::env::var("CUTS_SECONDS").map_or(SECONDS, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("CUTS_SECONDS must be a whole number, found {text:?}"))
    });
    let server = TestServer::start(RETAINS);
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let messages = seconds * PER_SECOND;
    let reading = Transport::all().enumerate().map(|(n, transport)| {
        let mut random = fastrand::Rng::with_seed(seed.wrapping_add(n as u64));
        let server = server.addr;
        async move {
            // To the end, also while there is much to catch up with.
            let path = Path::to(server, move || Fate {
                down: random.usize(..6_000),
                end: [End::Fin, End::Rst, End::Silence][random.usize(..3)],
                piece: [1, 100, usize::MAX][random.usize(..3)],
                ..Fate::NONE
            })
            .await;
            let reads = Reads {
                setup: setup(path.addr, "cuts"),
                last: messages,
                most: Duration::from_secs(2 * seconds) + PATIENCE,
            };
            (transport, visit(transport, reads).await)
        }
    });
    let pause = Duration::from_secs(1) / PER_SECOND as u32;
    let publishing = publish(&server, "cuts", messages, pause);
    let (returns, ()) = tokio::join!(join_all(reading), publishing);
    for (transport, returns) in returns {
        println!("{transport}: {messages} messages, came back {returns} times, lost 0, doubled 0");
        assert!(returns >= 3, "{transport}: cut {returns} times only");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_fell_far_behind_catches_up_on_a_path_that_lets_no_long_answer_through() {
    const MESSAGES: u64 = 2000;
    let _turn = tokio::task::block_in_place(beside);
    let server = TestServer::start(RETAINS);
    publish(&server, "cuts", MESSAGES, Duration::ZERO).await;
    for transport in Transport::all() {
        // An answer with all that one can have is ten times as long.
        let fate = Fate {
            down: 6_000,
            end: End::Rst,
            ..Fate::NONE
        };
        let path = Path::to(server.addr, move || fate).await;
        let reads = Reads {
            setup: setup(path.addr, "cuts"),
            last: MESSAGES,
            most: PATIENCE,
        };
        let returns = visit(transport, reads).await;
        assert!(returns > 10, "{transport}: cut {returns} times only");
    }
}

/// A trial of the binary whose connections are all cut twice; its transport's name, and what it says.
async fn cut_twice(transport: Transport, server: &TestServer) -> (Transport, serde_json::Value) {
    let path = Path::to(server.addr, || Fate::NONE).await;
    let addr = path.addr;
    let start = move || {
        let load = "--clients 20 --rate 20 --interval 100ms --publishers 2 --warmup 300ms";
        Running::start(&format!(
            "--mode {transport} {load} --duration 5s --url http://{addr}"
        ))
    };
    let running = tokio::task::spawn_blocking(start).await.unwrap();
    for _ in 0..2 {
        sleep(Duration::from_millis(700)).await;
        path.cut_all();
    }
    let end = tokio::task::spawn_blocking(|| running.end());
    (transport, end.await.unwrap().1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loadgens_own_clients_come_back_where_they_stood() {
    let _turn = tokio::task::block_in_place(beside);
    let server = TestServer::start("");
    let trials = Transport::all().map(|transport| cut_twice(transport, &server));
    for (transport, trial) in join_all(trials).await {
        let outcome = &trial["outcome"];
        let count = |of: &str, name: &str| outcome[of][name].as_u64().expect("a count");
        if transport.properties().streams {
            let cut = count("connections", "cut");
            assert!(cut >= 20, "{transport}: {cut} were cut: this shows nothing");
        }
        assert!(count("audit", "expected") > 500, "{transport}: {trial}");
        let wrong = ["lost", "doubled", "reordered", "gaps"].map(|name| count("audit", name));
        assert_eq!(wrong, [0; 4], "{transport}: {trial}");
    }
}
