//! The demo pages, in a real browser.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;

use crate::browser::{Browser, Tab};
use crate::helper::TestServer;
use crate::race::open_race;

/// In the order of the start page.
pub(crate) const PAGES: [&str; 5] = [
    "/short-poll.html",
    "/long-poll.html",
    "/sse.html",
    "/ws.html",
    "/socketio.html",
];

#[tokio::test]
async fn two_tabs_of_any_page_see_each_others_messages_once_and_in_order() {
    let browser = Browser::start().await;
    // A server for each: a browser opens only this many connections to one.
    let servers = PAGES.map(|_| TestServer::start(""));
    for (page, server) in PAGES.iter().zip(&servers) {
        let ann = browser
            .open(&server.url(&format!("{page}?room=tea&name=ann")))
            .await;
        let bob = browser
            .open(&server.url(&format!("{page}?room=tea&name=bob")))
            .await;
        let mut said = Vec::new();
        for [from_ann, from_bob] in [["1", "2"], ["3", "4"]] {
            for (tab, text) in [(&ann, from_ann), (&bob, from_bob)] {
                tab.send(text).await;
                said.push(text);
                ann.lists(&said).await;
                bob.lists(&said).await;
            }
        }
        // Many at once keep their order too, where they share a connection; everybody sees the same order.
        let many: Vec<_> = ('a'..='z').map(String::from).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        ann.send_at_once(&many).await;
        bob.until("#messages .text", |texts| {
            texts.len() == said.len() + many.len()
        })
        .await;
        let order = bob.texts("#messages .text").await;
        let mut arrived: Vec<_> = order[said.len()..].iter().map(String::as_str).collect();
        if page != &"/ws.html" {
            arrived.sort_unstable();
        }
        assert_eq!(arrived, many);
        ann.lists(&order.iter().map(String::as_str).collect::<Vec<_>>())
            .await;
        ann.until("#pending li", <[_]>::is_empty).await;
        assert_eq!(
            bob.texts("#messages bdi").await[..5],
            ["ann", "bob", "ann", "bob", "ann"]
        );
    }
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[tokio::test]
async fn what_any_page_says_reaches_every_other_page() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    let tabs = open_all(&browser, server.addr, "?room=tea").await;
    let mut said = Vec::new();
    for (tab, page) in tabs.iter().zip(PAGES) {
        tab.is("open").await;
        tab.send(page).await;
        said.push(page);
        for tab in &tabs {
            tab.lists(&said).await;
        }
    }
    // All at once: the order is the same on every page, and in it the messages of each keep theirs.
    for text in ["a", "b", "c"] {
        for (tab, page) in tabs.iter().zip(PAGES) {
            tab.send(&format!("{text} from {page}")).await;
        }
    }
    tabs[0]
        .until("#messages .text", |texts| texts.len() == 4 * PAGES.len())
        .await;
    let order = tabs[0].texts("#messages .text").await;
    let order: Vec<_> = order.iter().map(String::as_str).collect();
    for (tab, page) in tabs.iter().zip(PAGES) {
        tab.lists(&order).await;
        tab.until("#pending li", <[_]>::is_empty).await;
        let own = order.iter().filter_map(|text| text.strip_suffix(page));
        assert_eq!(
            own.collect::<Vec<_>>(),
            ["", "a from ", "b from ", "c from "]
        );
    }
    assert_eq!(browser.complaints().await, [""; 0]);
}

/// What would do something if it were not text.
const HOSTILE: [&str; 30] = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<body onload=alert(1)>",
    "<iframe src=javascript:alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<a href=javascript:alert(1)>click</a>",
    "<input autofocus onfocus=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<video><source onerror=alert(1)>",
    "<audio src=x onerror=alert(1)>",
    "<object data=javascript:alert(1)>",
    "<embed src=javascript:alert(1)>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<style>@import '//evil.example/x.css';</style>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<base href=//evil.example>",
    "<form action=//evil.example><button>Send</button></form>",
    "<math><mi xlink:href=javascript:alert(1)>x</mi></math>",
    "<template><script>alert(1)</script></template>",
    "</ol></section><script>alert(1)</script>",
    "--><script>alert(1)</script>",
    "]]><script>alert(1)</script>",
    "\"><script>alert(1)</script>",
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "{{constructor.constructor('alert(1)')()}}",
    "${alert(1)}",
    "&lt;script&gt;alert(1)&lt;/script&gt; &#x3c;b&#x3e;",
];

#[tokio::test]
async fn hostile_texts_and_names_are_shown_as_text_by_every_page() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    // With everything open: the wire shows what went over, too.
    let tabs = open_all(&browser, server.addr, "?room=h&open=wire,tally").await;
    let race = open_race(&browser, &server.url("/race.html?race=h")).await;
    for tab in &tabs {
        tab.is("open").await;
        tab.until("#rows button", |rows| !rows.is_empty()).await;
    }
    for (tab, texts) in tabs.iter().zip(HOSTILE.chunks(8)) {
        tab.fill("#name", texts[0]).await;
        tab.send_at_once(texts).await;
    }
    for tab in &tabs {
        tab.until("#messages .text", |texts| texts.len() == HOSTILE.len())
            .await;
        let mut texts = tab.texts("#messages .text").await;
        texts.sort_unstable();
        let mut expected = HOSTILE;
        expected.sort_unstable();
        assert_eq!(texts, expected);
        let names = tab.texts("#messages bdi").await;
        assert!(
            names
                .iter()
                .all(|name| HOSTILE.iter().step_by(8).any(|hostile| name == hostile)),
            "{names:?}"
        );
        for row in 0..tab.texts("#rows button").await.len() {
            tab.run(&format!(
                "document.querySelectorAll('#rows button')[{row}]?.click()"
            ))
            .await;
        }
        assert_eq!(
            tab.texts("#chat :is(img, script, iframe, style), #panels :is(img, script, iframe)")
                .await,
            [""; 0]
        );
    }
    race.until(".lane [data-part=messages]", |counts| {
        counts == ["30"; PAGES.len()]
    })
    .await;
    // All of a browser's six connections are taken here, and a session that cannot ask may be given up.
    let mut complaints = browser.complaints().await;
    complaints.retain(|text| !text.contains("/socket.io/") || !text.contains("400 (Bad Request)"));
    assert_eq!(complaints, [""; 0]);
}

#[tokio::test]
async fn the_pages_ask_nobody_else_and_are_small() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    let origin = server.url("");
    for page in ["/", "/race.html", "/seventh.html", "/report.html"]
        .iter()
        .chain(&PAGES)
    {
        let tab = browser
            .open(&server.url(&format!("{page}?open=try,wire,tally,knobs-panel,code")))
            .await;
        tab.until("h1", |titles| titles.len() == 1).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let asked = tab
            .run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
            .await;
        for url in asked.as_array().expect("names") {
            assert!(
                url.as_str().unwrap().starts_with(&origin),
                "{page} asks for {url}"
            );
        }
    }
    assert_eq!(browser.complaints().await, [""; 0]);
    let files =
        std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../static")).expect("the pages");
    let files: Vec<_> = files
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    let (bytes, lines) = files.iter().fold((0, 0), |(bytes, lines), file| {
        (bytes + file.len(), lines + file.lines().count())
    });
    assert!(
        bytes < 150_000 && lines < 3_200,
        "{bytes} bytes, {lines} lines"
    );
}

#[tokio::test]
async fn the_start_page_leads_to_every_transport_and_complains_of_nothing() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    let start = browser.open(&server.url("/")).await;
    let titles: Vec<_> = listed().map(|transport| said(transport, "title")).collect();
    assert_eq!(start.texts(".cards h2").await, titles);
    // Each page brings its own.
    start
        .until(".cards svg + p", |texts| texts.len() == PAGES.len())
        .await;
    for page in PAGES {
        let start = browser.open(&server.url("/")).await;
        start.click(&format!("a[href='{page}']")).await;
        start.is("open").await;
    }
    browser.open(&server.url("/stats")).await;
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[tokio::test]
async fn another_room_is_joined_by_its_name_and_shows_what_was_said_there() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    publish(&server, "other", 1).await;
    for tab in open_all(&browser, server.addr, "?room=one").await {
        tab.is("open").await;
        tab.fill("#room", "other").await;
        tab.click("#join button").await;
        tab.lists(&["1"]).await;
    }
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[tokio::test]
async fn a_long_history_is_read_to_its_end_and_the_list_keeps_the_newest_500() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    publish(&server, "long", 1100).await;
    let newest: Vec<String> = (601..=1100).map(|n| n.to_string()).collect();
    for tab in open_all(&browser, server.addr, "?room=long").await {
        tab.until("#messages .text", |texts| texts == newest).await;
        tab.until("#older:not([hidden])", |texts| texts.len() == 1)
            .await;
    }
}

#[tokio::test]
async fn a_page_that_fell_behind_the_window_says_how_many_messages_it_missed() {
    let (server, browser) = (
        TestServer::start("--retain-messages 3"),
        Browser::start().await,
    );
    let tab = browser.open(&server.url("/short-poll.html?room=w")).await;
    tab.is("open").await;
    publish(&server, "w", 1).await;
    tab.lists(&["1"]).await;
    publish(&server, "w", 10).await;
    // A poll may fall in between: however many gaps there are, they and the messages make up all that was said.
    tab.until("#messages > li", |rows| {
        rows.last().is_some_and(|row| row.contains("counter10"))
    })
    .await;
    let notes = tab.texts("#messages .note").await;
    let missed: usize = notes.iter().map(|note| missed(note)).sum();
    assert_eq!(missed + tab.texts("#messages .text").await.len(), 11);
}

#[tokio::test]
async fn a_refused_room_says_why_and_is_not_asked_for_again() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    for tab in open_all(&browser, server.addr, &format!("?room={}", "x".repeat(65))).await {
        tab.is("refused").await;
        assert!(tab.texts("#detail").await[0].starts_with("room must be 1 to 64 characters"));
    }
}

#[tokio::test]
async fn a_refused_message_stays_in_sight_with_the_reason_until_it_is_discarded() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    for tab in open_all(&browser, server.addr, "?name=a%07b").await {
        tab.is("open").await;
        tab.send("hello").await;
        tab.until(
            "#pending .refusal",
            |why| matches!(why, [why] if why.contains("a control character")),
        )
        .await;
        tab.click("#pending button:last-child").await;
        tab.until("#pending li", <[_]>::is_empty).await;

        // Half of a surrogate pair can be typed, or pasted, and is no text for the server.
        tab.run("document.getElementById('name').value = 'ann'")
            .await;
        type_strange(&tab, r"a\ud83d").await;
        tab.until(
            "#pending .refusal",
            |why| matches!(why, [why] if why.contains("half of a character")),
        )
        .await;
        tab.click("#pending button:last-child").await;
        tab.until("#pending li", <[_]>::is_empty).await;
    }
}

#[tokio::test]
async fn a_refusal_that_names_no_message_is_that_of_the_oldest_without_an_answer() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    let tab = browser.open(&server.url("/ws.html")).await;
    tab.is("open").await;
    tab.run(
        "const send = WebSocket.prototype.send;
        WebSocket.prototype.send = function (text) { send.call(this, text.includes('lost') ? 'no JSON' : text) };",
    )
    .await;
    tab.send("it gets lost").await;
    tab.send("it arrives").await;
    tab.until(
        "#pending .refusal",
        |why| matches!(why, [why] if why.contains("must be a JSON object")),
    )
    .await;
    tab.lists(&["it arrives"]).await;
    assert_eq!(tab.texts("#pending .text").await, ["it gets lost"]);
}

async fn type_strange(tab: &Tab<'_>, escaped: &str) {
    let script = "document.getElementById('text').value = 'TEXT'; document.getElementById('compose').requestSubmit()";
    tab.run(&script.replace("TEXT", escaped)).await;
}

/// The pages' own list of transports, an entry each.
fn listed() -> impl Iterator<Item = &'static str> {
    include_str!("../../../static/transports.js")
        .split("\n  {\n")
        .skip(1)
}

/// What an entry says under a name; of several, the first.
fn said(entry: &'static str, name: &str) -> &'static str {
    let value = entry
        .split(&format!("{name}: \""))
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    value.unwrap_or_else(|| panic!("no {name}: {entry}"))
}

#[tokio::test]
async fn every_transport_of_the_server_is_in_the_list_of_the_pages_and_has_a_page_and_a_script() {
    let server = TestServer::start("");
    let ids: BTreeSet<_> = listed().map(|transport| said(transport, "id")).collect();
    assert_eq!(
        ids,
        PAGES
            .map(|page| page.trim_matches('/').trim_end_matches(".html"))
            .into()
    );
    let stats = server.stats().await;
    let counted = stats["transports"].as_object().expect("transports").keys();
    assert_eq!(counted.map(String::as_str).collect::<BTreeSet<_>>(), ids);
    for transport in listed() {
        let (id, title) = (said(transport, "id"), said(transport, "title"));
        let page = server.get(&format!("/{id}.html")).await.body;
        for part in [
            &format!("data-transport=\"{id}\""),
            &format!("<h1>{title}</h1>"),
            "<template id=\"card\">",
        ] {
            assert!(page.contains(part), "/{id}.html has no {part}");
        }
        let script = server.get(&format!("/{id}.js")).await.body;
        assert!(
            script.contains("function run(link)") && script.contains("send"),
            "/{id}.js: {script}"
        );
        let source = server
            .get(&format!("/source/{}.rs", id.replace('-', "_")))
            .await;
        assert_eq!(
            source.status, 200,
            "the page of {id} shows the server's file"
        );
        let endpoint = if id == "socketio" { "socket.io/" } else { id };
        assert_ne!(
            server.post(&format!("/{endpoint}"), "").await.status,
            404,
            "/{endpoint} is an endpoint"
        );
        assert!(
            !said(transport, "name").is_empty() && !said(transport, "takes").is_empty(),
            "{id}"
        );
        let figures = transport
            .split_once("sum: [")
            .and_then(|(_, rest)| rest.split_once(']'))
            .expect("figures")
            .0;
        for figure in figures.split(", ").map(|name| name.trim_matches('"')) {
            assert!(
                stats["transports"][id][figure].is_u64(),
                "/stats has no {figure} of {id}"
            );
        }
    }
}

#[test]
fn every_page_has_its_links_and_colours_from_the_list_and_names_no_transport_by_hand() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../static");
    let files = std::fs::read_dir(folder)
        .expect("the pages")
        .map(|file| file.unwrap().path());
    for path in files.filter(|path| path.extension().is_some_and(|kind| kind == "html")) {
        let (name, text) = (path.display(), std::fs::read_to_string(&path).unwrap());
        assert!(
            text.contains("<script type=\"module\" src=\"/nav.js\" blocking=\"render\">"),
            "{name}"
        );
        assert!(
            path.ends_with("index.html") || text.contains("<nav aria-label=\"Pages\"></nav>"),
            "{name}"
        );
    }
    let style = include_str!("../../../static/style.css");
    for transport in listed() {
        let id = said(transport, "id");
        assert!(
            !style.contains(&format!("--{id}")) && !style.contains(&format!("\"{id}\"")),
            "{id} in style.css"
        );
    }
}

#[test]
fn the_colours_of_the_transports_are_those_of_the_reports() {
    let charts = include_str!("../../../loadgen/src/report/chart.css");
    let mut places = std::collections::BTreeSet::new();
    for transport in listed() {
        let (id, light) = (said(transport, "id"), said(transport, "light"));
        let dark = said(transport, "dark");
        // A place in their palette.
        let place = (1..=8).find(|place| charts.contains(&format!("--{place}:{light}")));
        let is_pair = place.is_some_and(|place| {
            places.insert(place) && charts.contains(&format!("--{place}:{dark}"))
        });
        assert!(is_pair, "{id} is {light} or {dark} in the pages alone");
    }
}

/// How many messages a note says were missed.
pub(crate) fn missed(note: &str) -> usize {
    let count = note
        .strip_prefix("Messages missed: ")
        .and_then(|rest| rest.split('.').next())
        .expect("a gap");
    count.parse().expect("a number")
}

/// A tab of each page.
pub(crate) async fn open_all<'a>(
    browser: &'a Browser,
    addr: SocketAddr,
    query: &str,
) -> Vec<Tab<'a>> {
    let mut tabs = Vec::new();
    for page in PAGES {
        tabs.push(browser.open(&format!("http://{addr}{page}{query}")).await);
    }
    tabs
}

/// Publishes the numbers from 1.
async fn publish(server: &TestServer, room: &str, count: usize) {
    let path = format!("/messages?room={room}");
    for n in 1..=count {
        let body = json!({ "from": "counter", "text": n.to_string() }).to_string();
        assert_eq!(server.post(&path, body).await.status, 201);
    }
}
