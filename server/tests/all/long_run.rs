//! A tab that stays open: 20 messages a second, bounded DOM and memory, and how smooth it is.
//!
//! Some seconds of it are a test. Ten minutes, with their figures, are
//! `cargo test -p server --test all -- --ignored --nocapture ten_minutes`.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, interval, sleep};

use crate::browser::{Browser, Tab};
use crate::helper::TestServer;

const PER_SECOND: u32 = 20;
/// More than the list keeps: it is full before the watch begins.
const BEFORE: usize = 600;
/// What the list keeps.
const ROWS: usize = 500;
/// 500 rows of the list, 12 of the wire with 200 marks each, what is chosen in it, and the page around them.
const MOST_NODES: f64 = 12_000.0;

const TEXT: &str = "a message of a length that people write, now and then";

/// Counts frames, and the longest time without one.
const WATCH_FRAMES: &str = "
    window.frames_seen = 0; window.longest = 0;
    let last = performance.now();
    const tick = (now) => {
        window.frames_seen += 1;
        window.longest = Math.max(window.longest, now - last);
        last = now;
        requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);";

#[tokio::test]
async fn a_tab_under_20_messages_a_second_keeps_its_bounds() {
    // The wire fills all the while.
    let settled = Duration::from_secs(3);
    stay(
        "/ws.html",
        Duration::from_secs(9),
        Duration::from_secs(3),
        settled,
    )
    .await;
}

#[tokio::test]
#[ignore = "ten minutes"]
async fn ten_minutes_of_20_messages_a_second() {
    let (long, each) = (Duration::from_secs(600), Duration::from_secs(60));
    tokio::join!(
        stay("/ws.html", long, each, each),
        stay("/long-poll.html", long, each, each)
    );
}

/// A tab with its wire and its tally open, a row chosen, and as many rows as the list keeps.
async fn open_and_fill<'a>(server: &TestServer, browser: &'a Browser, page: &str) -> Tab<'a> {
    let tab = browser
        .open(&server.url(&format!("{page}?open=wire,tally")))
        .await;
    tab.is("open").await;
    tab.until("#rows button", |rows| !rows.is_empty()).await;
    tab.click("#rows button").await;
    for _ in 0..BEFORE {
        server.publish(TEXT).await;
    }
    tab.until_run(
        "return document.getElementById('messages').childElementCount",
        |rows| *rows == ROWS,
    )
    .await;
    tab
}

/// From `settled` on, the heap may not grow.
async fn stay(page: &str, long: Duration, each: Duration, settled: Duration) {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    let tab = open_and_fill(&server, &browser, page).await;
    tab.run(WATCH_FRAMES).await;
    let publish = async {
        let mut beat = interval(Duration::from_secs(1) / PER_SECOND);
        loop {
            beat.tick().await;
            server.publish(TEXT).await;
        }
    };
    let watch = async {
        browser.cdp("Performance.enable", json!({})).await;
        println!(
            "{page}: seconds, messages, heap MB after a collection, DOM nodes, frames/s, longest frame ms, median age"
        );
        let (start, mut first) = (Instant::now(), None);
        while start.elapsed() < long {
            tab.run("window.frames_seen = 0; window.longest = 0").await;
            let since = Instant::now();
            sleep(each).await;
            let took = since.elapsed().as_secs_f64();
            let frames = tab
                .run("return [window.frames_seen, Math.round(window.longest)]")
                .await;
            let (heap, nodes) = measure(&browser).await;
            let per_second = frames[0].as_f64().unwrap() / took;
            let (messages, median) = (tab.text("#received").await, tab.text("#median").await);
            let at = start.elapsed().as_secs();
            println!(
                "{page}: {at:>4}, {messages:>6}, {heap:>5.1}, {nodes:>5}, {per_second:>4.0}, {:>4}, {median}",
                frames[1]
            );
            assert!(nodes < MOST_NODES, "{nodes} nodes");
            if start.elapsed() >= settled {
                let first = *first.get_or_insert(heap);
                assert!(
                    heap < 1.5 * first + 0.5,
                    "{heap} MB, and {first} MB when the list was full"
                );
            }
        }
    };
    tokio::select! {
        () = publish => unreachable!("it goes on for ever"),
        () = watch => {}
    }
    assert_eq!(
        tab.texts("#messages li").await.len(),
        ROWS,
        "it is full, and no fuller"
    );
    let published = server.stats().await["published"].as_u64().unwrap();
    let received = format!(
        "return Number(document.getElementById('received').textContent.replaceAll(',', '')) >= {published}"
    );
    tab.until_run(&received, |all| *all == json!(true)).await;
    assert_eq!(browser.complaints().await, [""; 0]);
}

/// The heap after a collection, in MB, and the nodes of the document.
async fn measure(browser: &Browser) -> (f64, f64) {
    browser.cdp("HeapProfiler.collectGarbage", json!({})).await;
    let metrics = browser.cdp("Performance.getMetrics", json!({})).await;
    let metric = |name: &str| {
        let metrics = metrics["metrics"]
            .as_array()
            .unwrap_or_else(|| panic!("metrics: {metrics}"));
        let metric = metrics
            .iter()
            .find(|metric| metric["name"] == name)
            .expect("a metric of this name");
        metric["value"].as_f64().expect("a number")
    };
    (metric("JSHeapUsedSize") / 1e6, metric("Nodes"))
}
