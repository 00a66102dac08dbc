//! What the pages make of a setting that cannot be, by knob or address, in a real browser.

use std::time::Duration;

use serde_json::json;

use crate::browser::{Browser, Tab};
use crate::helper::TestServer;

/// As many requests as ten a second are, and twice that.
const MOST_IN_A_SECOND: u64 = 20;

#[tokio::test]
async fn what_an_address_asks_for_is_bounded_and_what_is_used_is_said() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    // What the address asks for, what the knob shows, and what the address says then.
    let settings = [
        ("short-poll", "interval", "1", "0.1", "100"),
        ("short-poll", "interval", "0", "0.1", "100"),
        ("short-poll", "interval", "-5", "0.1", "100"),
        ("short-poll", "interval", "NaN", "1", ""),
        ("short-poll", "interval", "Infinity", "60", "60000"),
        ("short-poll", "interval", "", "1", ""),
        ("short-poll", "interval", "3000", "3", "3000"),
        ("long-poll", "hold", "0", "1", "1000"),
        ("long-poll", "hold", "1e9", "60", "60000"),
        ("long-poll", "hold", "seven", "25", ""),
        ("long-poll", "hold", "7000", "7", "7000"),
        ("sse", "distance", "350", "350", "350"),
        ("ws", "distance", "9999", "600", "600"),
        ("ws", "distance", "-1", "0", ""),
        ("ws", "payload", "1e99", "60000", "60000"),
    ];
    for (page, name, asked, shown, said) in settings {
        let tab = browser
            .open(&server.url(&format!("/{page}.html?name=ann&{name}={asked}")))
            .await;
        tab.is("open").await;
        let value = format!("return document.getElementById('{name}').value");
        tab.until_run(&value, |value| *value == json!(shown)).await;
        let address = format!("return new URLSearchParams(location.search).get('{name}') ?? ''");
        assert_eq!(tab.run(&address).await, said, "{name}={asked}");
        let told = !tab.text("#clamped").await.is_empty();
        assert_eq!(told, asked.is_empty() || asked != said, "{name}={asked}");
        tab.close().await;
    }
    let race = browser
        .open(&server.url("/race.html?interval=1&distance=355"))
        .await;
    race.until_run("return interval.value + ' ' + far.value", |said| {
        *said == "0.1 360 ms there and back"
    })
    .await;
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[tokio::test]
async fn a_knob_that_is_emptied_or_turned_too_far_asks_for_no_flood() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    for (page, knob, least) in [
        ("short-poll", "interval", "0.1"),
        ("long-poll", "hold", "1"),
    ] {
        let tab = browser
            .open(&server.url(&format!("/{page}.html?{knob}=2000")))
            .await;
        tab.is("open").await;
        for (typed, used) in [
            ("", "2"),
            ("0", least),
            ("-1", least),
            ("1e-9", least),
            ("1e9", "60"),
        ] {
            tab.turn(&format!("#{knob}"), typed).await;
            assert_eq!(
                tab.run(&format!("return {knob}.value")).await,
                used,
                "{knob} of {typed:?}"
            );
            if used != "60" {
                calm(&server, &tab, typed).await;
            }
        }
        // What can be is no complaint, whatever its digits are in binary.
        tab.turn(
            &format!("#{knob}"),
            if knob == "hold" { "16.1" } else { "2.01" },
        )
        .await;
        assert_eq!(tab.text("#clamped").await, "", "{knob}");
        tab.turn(&format!("#{knob}"), "60").await;
        // The last one that could be stays.
        tab.turn(&format!("#{knob}"), "").await;
        assert_eq!(tab.run(&format!("return {knob}.value")).await, "60");
        tab.close().await;
    }
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[tokio::test]
async fn what_was_refused_is_asked_again_when_a_knob_is_turned() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    let tab = browser.open(&server.url("/long-poll.html")).await;
    tab.is("open").await;
    tab.run(
        "const { fetch } = window;
        window.fetch = (url, options) => fetch(url.replace('wait=5000ms', 'wait=5000h'), options);",
    )
    .await;
    tab.turn("#hold", "5").await;
    tab.is("refused").await;
    tab.turn("#hold", "6").await;
    tab.is("open").await;
    tab.send("here again").await;
    tab.lists(&["here again"]).await;
}

/// The page asks no more than it may.
async fn calm(server: &TestServer, tab: &Tab<'_>, typed: &str) {
    let polls = async || {
        let stats = server.stats().await;
        let count = |transport: &str, what: &str| {
            stats["transports"][transport][what]
                .as_u64()
                .expect("a count")
        };
        ["short-poll", "long-poll"]
            .map(|transport| count(transport, "empties") + count(transport, "batches"))
    };
    let before = polls().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let after = polls().await;
    let asked = after[0] + after[1] - before[0] - before[1];
    assert!(
        asked <= MOST_IN_A_SECOND,
        "{typed:?}: {asked} requests in half a second"
    );
    let number =
        "return Number.isFinite(Number(new URLSearchParams(location.search).get('interval')))";
    assert_eq!(tab.run(number).await, true);
}
