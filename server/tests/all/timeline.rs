//! What the wire and the states of the pages say over time, in a real browser.

use serde_json::{Value, json};

use crate::browser::{Browser, Tab};
use crate::helper::TestServer;
use crate::pages::PAGES;

#[tokio::test]
async fn a_frozen_wire_stands_still_while_more_goes_over() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    let tab = browser
        .open(&server.url("/short-poll.html?interval=100&open=wire,tally"))
        .await;
    tab.until_run(&requests_beyond(8), |beyond| *beyond == true)
        .await;
    let picture = "return document.getElementById('rows').innerHTML";
    tab.run("document.getElementById('freeze').click()").await;
    let before = tab.run(picture).await;
    assert!(
        before.as_str().expect("rows").contains("<circle"),
        "{before}"
    );
    tab.until_run(&requests_beyond(40), |beyond| *beyond == true)
        .await;
    assert_eq!(tab.run(picture).await, before);
    assert_eq!(tab.text("#axis span:last-child").await, "frozen");
    // A row that has long gone is still read.
    tab.click("#rows button").await;
    assert!(
        tab.text("#entries pre")
            .await
            .starts_with("GET /short-poll")
    );
    tab.run("document.getElementById('freeze').click()").await;
    tab.until_run(picture, |now| *now != before).await;
    tab.until("#shows", |says| {
        says[0].starts_with("Shown: 1") && says[0].contains(" of ")
    })
    .await;
    let says = tab.text("#shows").await;
    let said = says
        .strip_prefix("Shown: ")
        .and_then(|rest| rest.split_once(" of "))
        .expect("both counts");
    assert!(
        said.1.split(' ').next().unwrap().parse::<u32>().unwrap() > 40,
        "{says}"
    );
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[tokio::test]
async fn a_stream_that_goes_on_does_not_change_its_frozen_row() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    let tab = browser.open(&server.url("/sse.html?open=wire,tally")).await;
    tab.is("open").await;
    server.publish("before").await;
    tab.until("#rows .note", |notes| {
        notes.iter().any(|note| note.contains("1 message "))
    })
    .await;
    tab.run("document.getElementById('freeze').click()").await;
    let down = "return document.getElementById('down').dataset.exact";
    let before = tab.run(down).await;
    server.publish("later").await;
    tab.lists(&["before", "later"]).await;
    // What the tally has counted, the wire has been told, too.
    tab.until_run(down, |now| *now != before).await;
    tab.run("document.querySelector('#rows button').click()")
        .await;
    let entries = "return document.getElementById('entries').textContent";
    let later = |shown: &Value| shown.as_str().is_some_and(|text| text.contains("later"));
    let frozen = tab.run(entries).await;
    assert!(
        frozen.as_str().expect("entries").contains("before") && !later(&frozen),
        "{frozen}"
    );
    tab.run("document.getElementById('freeze').click()").await;
    tab.until_run(entries, later).await;
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[tokio::test]
async fn only_what_is_held_is_called_held_and_an_outage_has_a_row() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    let tab = browser
        .open(&server.url("/long-poll.html?distance=600&hold=60000&open=wire,knobs-panel"))
        .await;
    watch_notes(&tab).await;
    tab.is("open").await;
    tab.until("#rows .note", |notes| {
        notes.iter().any(|note| note.starts_with("held · "))
    })
    .await;
    tab.send("hello").await;
    tab.until("#rows .note", |notes| {
        notes.iter().any(|note| note.starts_with("201 · stored"))
    })
    .await;
    let notes = tab.run("return window.notes").await;
    let notes: Vec<_> = notes
        .as_array()
        .expect("notes")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(
        notes
            .iter()
            .any(|note| note.starts_with("POST /messages under way · ")),
        "{notes:?}"
    );
    assert!(
        !notes
            .iter()
            .any(|note| note.starts_with("POST /messages held")),
        "{notes:?}"
    );
    tab.click("#pull").await;
    tab.until("#rows .outage", |rows| rows.len() == 1).await;
    let under_way =
        |note: &String| note.starts_with("the plug is pulled · ") && note.ends_with('…');
    tab.until("#rows .note", |notes| notes.iter().any(under_way))
        .await;
    tab.is("open").await;
    let over = |notes: &[String]| {
        notes
            .iter()
            .any(|note| note.starts_with("the plug is pulled") && !note.ends_with('…'))
    };
    tab.until("#rows .note", over).await;
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[tokio::test]
async fn what_a_quiet_hold_does_and_the_gaps_between_polls_are_told() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    for (page, told) in [
        ("long-poll", "Held by the server for 1."),
        ("short-poll", "after the question before, 1."),
    ] {
        let query = "?hold=1500&interval=1500&distance=100&open=wire";
        let tab = browser
            .open(&server.url(&format!("/{page}.html{query}")))
            .await;
        let quiet = |note: &String| note.contains(" · empty · ") && !note.ends_with('…');
        tab.until("#rows .note", |notes| notes.len() > 2 && quiet(&notes[2]))
            .await;
        tab.run("document.querySelectorAll('#rows button')[2].click()")
            .await;
        let about = tab.text("#about").await;
        assert!(about.contains(told), "{page}: {about}");
        tab.until("#detail", |detail| detail[0].starts_with("asked "))
            .await;
        tab.until("#shows", |says| {
            says[0].contains("Between the last two questions: ")
        })
        .await;
        tab.close().await;
    }
}

#[tokio::test]
async fn a_rate_is_that_of_whole_rounds() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    let tab = browser.open(&server.url("/long-poll.html")).await;
    tab.is("open").await;
    // 23 s in which four questions were seen, 7.36 s apart, the first of them soon after the beginning.
    tab.run(
        "import('/tally.js').then(({ Tally }) => {
            const tap = { lanes: { '': { requests: 0, up: 0, down: 0 } }, watch: (watcher) => (tap.watcher = watcher) };
            new Tally({ watch() {} }, tap);
            const end = performance.now();
            for (let at = 0; at <= 23_000; at += 250) {
                tap.heard = end - 23_000 + at;
                tap.lanes[''].requests = Math.floor((at + 7110) / 7360);
                tap.lanes[''].up = tap.lanes[''].requests * 900;
                tap.watcher.entries();
            }
            window.rates = ['requests-rate', 'bytes-rate'].map((id) => document.getElementById(id).textContent);
        });",
    )
    .await;
    let rates = "return window.rates ?? null";
    tab.until_run(rates, |rates| !rates.is_null()).await;
    assert_eq!(
        tab.run(rates).await,
        json!(["8 (of 22 s)", "7,281 B (of 22 s)"])
    );
}

#[tokio::test]
async fn posts_do_not_wait_for_one_another_and_a_long_poll_answers_with_several_messages() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    for page in ["sse", "long-poll"] {
        let tab = browser
            .open(&server.url(&format!(
                "/{page}.html?distance=600&open=wire,tally,knobs-panel"
            )))
            .await;
        tab.is("open").await;
        tab.turn("#rate", "5").await;
        tab.until("#median", |median| messages(&median[0]) >= 12)
            .await;
        if page == "long-poll" {
            tab.until("#rows .note", |notes| {
                notes.iter().any(|note| several(note))
            })
            .await;
        }
        // One after the other, twelve posts would take seven seconds, and half of them be older than three.
        let median = tab.text("#median").await;
        let (number, rest) = median.split_once(' ').expect("a number and its unit");
        let age = number.parse::<f64>().expect("a number")
            * if rest.starts_with("ms") { 1.0 } else { 1000.0 };
        assert!((600.0..2000.0).contains(&age), "{page}: {median}");
        tab.close().await;
    }
}

/// `612 ms of 12 messages`
fn messages(median: &str) -> u32 {
    let count = median
        .split_once(" of ")
        .and_then(|(_, rest)| rest.split(' ').next());
    count.map_or(0, |count| count.parse().expect("a number"))
}

/// `200 · 3 messages · 1.21 s`
fn several(note: &str) -> bool {
    let count = note
        .split(" · ")
        .nth(1)
        .and_then(|what| what.strip_suffix(" messages"));
    note.starts_with("200 · ")
        && count.is_some_and(|count| count.parse::<u32>().is_ok_and(|count| count > 1))
}

#[tokio::test]
async fn a_websocket_needs_one_round_trip_to_be_greeted() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    let mut seen = Vec::new();
    // A machine that pauses in one of them does not in both.
    for _ in 0..2 {
        let tab = browser
            .open(&server.url("/ws.html?distance=600&open=wire"))
            .await;
        tab.is("open").await;
        tab.until("#rows button", |rows| !rows.is_empty()).await;
        tab.click("#rows button").await;
        tab.until("#entries p", |heads| heads.len() >= 4).await;
        let heads = tab.texts("#entries p").await;
        let at: Vec<f64> = heads.iter().map(|head| milliseconds(head)).collect();
        // The 101 and the hello; one that was sent after the 101 had arrived would be 300 ms later.
        if at[1] >= 600.0 && at[2] - at[1] < 200.0 {
            return;
        }
        seen.push(heads);
        tab.close().await;
    }
    panic!("{seen:#?}");
}

/// `↓ down · +1.20 s · 129 B` or `+601 ms`
fn milliseconds(head: &str) -> f64 {
    let (number, rest) = head
        .split_once('+')
        .and_then(|(_, rest)| rest.split_once(' '))
        .expect("a time");
    number.parse::<f64>().expect("a number") * if rest.starts_with("ms") { 1.0 } else { 1000.0 }
}

#[tokio::test]
async fn a_short_poll_that_is_behind_asks_again_at_once() {
    let (server, browser) = (
        TestServer::start("--retain-bytes 8MiB"),
        Browser::start().await,
    );
    for n in 0..30 {
        let text = format!("{}{n}", "x".repeat(60_000));
        assert_eq!(
            server
                .post(
                    "/messages",
                    json!({ "from": "ann", "text": text }).to_string()
                )
                .await
                .status,
            201
        );
    }
    // The next question but one would be asked after this test.
    let tab = browser
        .open(&server.url("/short-poll.html?interval=60000"))
        .await;
    tab.until("#messages .text", |texts| texts.len() == 30)
        .await;
    tab.until("#detail", |detail| detail[0].contains("asks again in "))
        .await;
    assert_eq!(tab.text("#state").await, "polling");
}

#[tokio::test]
async fn an_event_stream_that_breaks_is_brought_back_by_the_browser_with_its_last_id() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    let tab = browser
        .open(&server.url("/sse.html?open=wire,knobs-panel"))
        .await;
    tab.is("open").await;
    let cursor = server.publish("before").await;
    tab.lists(&["before"]).await;
    tab.click("#break").await;
    tab.until("#rows .what", |rows| {
        rows.iter().filter(|row| *row == "GET /sse").count() == 2
    })
    .await;
    tab.is("open").await;
    server.publish("after").await;
    tab.lists(&["before", "after"]).await;
    let streams = "[...document.querySelectorAll('#rows button')].filter((row) => row.textContent.startsWith('GET /sse'))";
    tab.run(&format!("{streams}.at(-1).click()")).await;
    assert!(
        tab.text("#entries pre")
            .await
            .to_lowercase()
            .contains(&format!("last-event-id: {cursor}"))
    );
    assert!(tab.text("#about").await.contains(&cursor));
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[tokio::test]
async fn the_navigation_keeps_room_and_settings_and_curl_asks_where_the_page_is() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    let kept = ["room=red+tea", "name=ann", "interval=3000", "distance=350"];
    for page in PAGES.iter().chain(&["/", "/seventh.html", "/race.html"]) {
        let tab = browser
            .open(&server.url(&format!("{page}?{}&open=code", kept.join("&"))))
            .await;
        let links = "return [...document.querySelectorAll('a:not([target])')].map((a) => [a.pathname, a.search])";
        tab.until_run(links, |links| {
            let links = links.as_array().expect("links");
            let keeps = |link: &Value| {
                kept.iter()
                    .all(|part| link[1].as_str().unwrap().contains(part))
            };
            let well = |path: &str| {
                let mut to = links.iter().filter(|link| link[0] == path).peekable();
                to.peek().is_some() && to.all(keeps)
            };
            let pages = PAGES.iter().chain(&["/seventh.html", "/race.html"]);
            pages.into_iter().all(|path| well(path))
                && links.iter().any(|link| link[0] == "/report.html")
        })
        .await;
        if PAGES.contains(page) {
            tab.is("open").await;
            let curl = tab.text("[data-curl]").await;
            assert!(
                curl.contains(&server.addr.to_string())
                    && (curl.contains("room=red+tea") || curl.contains("room: \"red tea\"")),
                "{curl}"
            );
        }
        tab.close().await;
    }
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[tokio::test]
async fn the_start_page_shows_no_figures_of_before() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    let tab = browser.open(&server.url("/")).await;
    tab.until("#figures dd", |figures| figures.len() == PAGES.len() + 3)
        .await;
    server.stop().await;
    tab.until("#stale", |says| {
        says[0].starts_with("The server has not answered since ")
    })
    .await;
    assert_eq!(tab.texts("#figures dd").await, [""; 0]);
}

/// Keeps every text that a row's note has had.
async fn watch_notes(tab: &Tab<'_>) {
    tab.run(
        "window.notes = [];
        setInterval(() => {
            for (const row of document.querySelectorAll('#rows .row')) {
                const [what, note] = row.querySelectorAll('span');
                window.notes.push(`${what.textContent} ${note.textContent}`);
            }
        }, 50);",
    )
    .await;
}

fn requests_beyond(count: u32) -> String {
    format!("return Number(document.getElementById('requests').textContent) > {count}")
}
