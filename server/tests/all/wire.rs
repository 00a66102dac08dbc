//! What the pages of the transports show of their wire, in a real browser, beside what a proxy in between has seen.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::browser::{Browser, Tab};
use crate::helper::TestServer;
use crate::pages::{PAGES, missed};
use crate::raw::PATIENCE;

#[tokio::test]
async fn the_wire_and_the_tally_equal_what_the_server_and_a_proxy_have_counted() {
    let browser = Browser::start().await;
    // They stay until the end: a page whose server is gone complains of it.
    let servers = PAGES.map(|_| TestServer::start(""));
    for (page, server) in PAGES.into_iter().zip(&servers) {
        let meter = Meter::start(server.addr).await;
        let query = "?name=ann&open=wire,tally&interval=3000&hold=7000";
        let tab = browser
            .open(&format!("http://{}{page}{query}", meter.addr))
            .await;
        tab.is("open").await;
        for text in ["one", "two", "three"] {
            tab.send(text).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        tab.lists(&["one", "two", "three"]).await;
        tab.until("#pending li", <[_]>::is_empty).await;
        // Unplugged, nothing more goes over, and the last figures come in.
        pull_the_plug(&tab).await;
        let (deadline, mut tally) = (Instant::now() + PATIENCE, figures(&tab).await);
        while counts(&tally) != meter.counts() && Instant::now() < deadline {
            tally = figures(&tab).await;
        }
        let stats = server.stats().await;
        assert_eq!(stats["published"], 3);
        assert_eq!(tally["received"], stats["deliveries"], "{page}: {tally}");
        // A poll that was held when the plug was pulled has been answered to nobody.
        let cut = u64::from(page == "/long-poll.html");
        let empties = stats["empties"].as_u64().unwrap();
        assert!(
            (empties - cut..=empties).contains(&tally["empty"].as_u64().unwrap()),
            "{page}: {tally}"
        );
        assert_eq!(counts(&tally), meter.counts(), "{page}: {tally}");
        let rows = tab.texts("#rows button .what").await;
        assert_eq!(rows.len() as u64, counts(&tally)[0], "{page}: {rows:?}");
        let path = page.trim_end_matches(".html");
        let expected = match path {
            "/ws" => vec!["GET /ws"],
            "/sse" => vec![
                "GET /sse",
                "POST /messages",
                "POST /messages",
                "POST /messages",
            ],
            _ => Vec::new(),
        };
        assert!(expected.is_empty() || rows == expected, "{rows:?}");
    }
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[tokio::test]
async fn a_row_shows_what_really_went_over() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    let tab = browser
        .open(&server.url("/ws.html?name=ann&open=wire"))
        .await;
    tab.is("open").await;
    tab.send("hello").await;
    tab.until("#rows .note", |notes| {
        notes.len() == 1 && notes[0].starts_with("101 · ↑1 ↓4 frames")
    })
    .await;
    tab.click("#rows button").await;
    let shown = tab.texts("#entries pre").await;
    assert!(
        shown[0].starts_with("GET /ws?room=lobby&name=ann&tap=")
            && shown[0].contains("\r\nUpgrade: websocket\r\n")
    );
    assert!(shown[1].starts_with("HTTP/1.1 101 Switching Protocols\r\n"));
    assert!(
        shown[4].starts_with(r#"{"from":"ann","text":"hello","key":""#),
        "{shown:?}"
    );
    assert!(
        shown[5].starts_with(r#"{"ack""#) && shown[6].starts_with(r#"{"seq":1"#),
        "{shown:?}"
    );
    let heads = tab.texts("#entries p").await;
    assert!(
        heads[4].contains("text frame (opcode 1, fin), masked with ")
            && heads[4].contains("header 6 B"),
        "{heads:?}"
    );
    assert!(heads[5].contains("not masked · header 2 B"), "{heads:?}");
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[tokio::test]
async fn pulling_the_plug_loses_nothing_and_names_the_cursor() {
    let browser = Browser::start().await;
    // They stay until the end: a page whose server is gone complains of it.
    let servers = PAGES.map(|_| TestServer::start(""));
    for (page, server) in PAGES.into_iter().zip(&servers) {
        let tab = browser
            .open(&server.url(&format!("{page}?open=knobs-panel,wire")))
            .await;
        let cursor = server.publish("before").await;
        tab.lists(&["before"]).await;
        pull_the_plug(&tab).await;
        tab.is("offline").await;
        server.publish("meanwhile").await;
        tab.send("typed meanwhile").await;
        // Long enough for what would come if the plug were not pulled.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(tab.texts("#messages .text").await, ["before"]);
        tab.run("window.plugIn()").await;
        tab.until("#messages .text", |texts| {
            texts == ["before", "meanwhile", "typed meanwhile"]
        })
        .await;
        tab.until("#pending li", <[_]>::is_empty).await;
        let notes = tab.texts("#messages .plug").await;
        assert!(
            notes[0].ends_with(&format!("seen: {cursor}."))
                && notes[1].ends_with(&format!("after {cursor}."))
        );
        // It said so to the server.
        let path = page.trim_end_matches(".html");
        let is_socketio = path == "/socketio";
        let path = if is_socketio { "/socket.io/" } else { path };
        tab.until("#rows .what", |rows| {
            rows.iter().filter(|row| row.ends_with(path)).count() > 1
        })
        .await;
        let resumed = if is_socketio {
            format!("\"after\":\"{cursor}\"")
        } else {
            format!("after={cursor}&")
        };
        tab.until_run(
            &format!(
                "return [...document.querySelectorAll('#rows button')].some((row) => {{
                    row.click();
                    const read = [...document.querySelectorAll('#entries pre')];
                    return read.some((entry) => entry.textContent.includes('{resumed}'));
                }})"
            ),
            |found| *found == Value::Bool(true),
        )
        .await;
        assert_eq!(server.stats().await["gaps"], 0);
    }
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[tokio::test]
async fn falling_behind_is_told_as_a_gap() {
    let browser = Browser::start().await;
    // They stay until the end: a page whose server is gone complains of it.
    let servers = PAGES.map(|_| TestServer::start(""));
    for (page, server) in PAGES.into_iter().zip(&servers) {
        let tab = browser
            .open(&server.url(&format!("{page}?open=knobs-panel,tally")))
            .await;
        server.publish("before").await;
        tab.lists(&["before"]).await;
        tab.click("#behind").await;
        tab.until("#messages .gap", |notes| notes.len() == 1).await;
        let told = missed(&tab.text("#messages .gap").await);
        tab.until("#messages .text", |texts| texts.len() == 1 + 20 - told)
            .await;
        tab.until("#gaps", |gaps| gaps == ["1"]).await;
        // Whoever else is in the room got nothing of it.
        assert_eq!(
            server.get("/short-poll?room=lobby").await.texts(),
            ["before"]
        );
        server.publish("after").await;
        tab.until("#messages .text", |texts| {
            texts.last().is_some_and(|text| text == "after")
        })
        .await;
    }
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[tokio::test]
async fn the_median_age_of_a_short_poll_is_about_half_of_its_interval() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    let tab = browser
        .open(&server.url("/short-poll.html?open=knobs-panel,tally&interval=2000"))
        .await;
    tab.is("open").await;
    tab.turn("#rate", "20").await;
    for seconds in [2.0, 1.0] {
        // A machine that is busy elsewhere may spoil one attempt.
        let mut halves = Vec::new();
        for _ in 0..2 {
            tab.turn("#interval", &seconds.to_string()).await;
            tab.until("#median", |median| ages(&median[0]) >= Some(120))
                .await;
            halves.push(milliseconds(&tab.text("#median").await) / (seconds * 1000.0));
            if (0.35..0.65).contains(halves.last().unwrap()) {
                break;
            }
        }
        assert!(
            (0.35..0.65).contains(halves.last().unwrap()),
            "{seconds} s: {halves:?} of the interval"
        );
    }
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[tokio::test]
async fn a_page_under_another_name_is_refused_and_told_which_flag_would_let_it_in() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    // As behind a proxy that does not pass the name on.
    let meter = Meter::start(server.addr).await;
    meter.renamed.store(1, Relaxed);
    let tab = browser
        .open(&format!("http://{}/ws.html", meter.addr))
        .await;
    tab.is("refused").await;
    let why = tab.text("#detail").await;
    assert!(
        why.ends_with(&format!(
            "start it with --allow-origin http://{} if it may",
            meter.addr
        )),
        "{why}"
    );
}

/// Pulls it, and it stays out until `plugIn` is called: after five seconds it would be back, however slow the machine.
async fn pull_the_plug(tab: &Tab<'_>) {
    tab.run(
        "const { setTimeout } = window;
        window.setTimeout = (call, time) => (time === 5000 ? void (window.plugIn = call) : setTimeout(call, time));
        document.getElementById('pull').click();
        window.setTimeout = setTimeout;",
    )
    .await;
}

/// What a [`Meter`] counts too.
fn counts(tally: &Value) -> [u64; 3] {
    ["requests", "up", "down"].map(|figure| tally[figure].as_u64().expect("a number"))
}

/// The figures of the tally as numbers.
async fn figures(tab: &Tab<'_>) -> Value {
    let mut figures = json!({});
    for id in ["requests", "empty", "received", "up", "down"] {
        let text = tab.text(&format!("#{id}")).await;
        // Above 10,000 bytes the tally rounds; what it rounds stands beside it.
        let exact = tab
            .run(&format!(
                "return Number(document.getElementById('{id}').dataset.exact ?? NaN)"
            ))
            .await;
        figures[id] = if exact.is_number() {
            exact
        } else {
            text.replace(',', "")
                .parse::<u64>()
                .expect("a number")
                .into()
        };
    }
    figures
}

/// `740 ms of 120 messages` has 120 ages.
fn ages(median: &str) -> Option<usize> {
    median.split(" of ").nth(1)?.split(' ').next()?.parse().ok()
}

fn milliseconds(median: &str) -> f64 {
    let (number, rest) = median.split_once(' ').expect("a number and its unit");
    let number: f64 = number.parse().expect("a number");
    if rest.starts_with("ms") {
        number
    } else {
        number * 1000.0
    }
}

/// A proxy that counts the requests that name a tap, and the bytes of them and of their answers.
struct Meter {
    addr: SocketAddr,
    counts: Arc<[AtomicU64; 3]>,
    /// Not zero: the server hears another `Host` than the browser says.
    renamed: Arc<AtomicU64>,
}

impl Meter {
    async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let (counts, renamed) = (
            Arc::<[AtomicU64; 3]>::default(),
            Arc::<AtomicU64>::default(),
        );
        let (counting, renaming) = (Arc::clone(&counts), Arc::clone(&renamed));
        tokio::spawn(async move {
            while let Ok((browser, _)) = listener.accept().await {
                let rename =
                    (renaming.load(Relaxed) > 0).then_some((addr.to_string(), server.to_string()));
                tokio::spawn(measure(browser, server, Arc::clone(&counting), rename));
            }
        });
        Self {
            addr,
            counts,
            renamed,
        }
    }

    fn counts(&self) -> [u64; 3] {
        [0, 1, 2].map(|at: usize| self.counts[at].load(Relaxed))
    }
}

async fn measure(
    mut browser: TcpStream,
    server: SocketAddr,
    counts: Arc<[AtomicU64; 3]>,
    rename: Option<(String, String)>,
) -> std::io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut tapped = false;
    loop {
        tokio::select! {
            read = browser.read(&mut up) => {
                let chunk = &up[..read?];
                if chunk.is_empty() {
                    return Ok(());
                }
                let line = String::from_utf8_lossy(chunk);
                let line = line.lines().next().unwrap_or_default();
                if line.ends_with("HTTP/1.1") {
                    tapped = line.contains("tap=");
                    counts[0].fetch_add(u64::from(tapped), Relaxed);
                }
                counts[1].fetch_add(if tapped { chunk.len() as u64 } else { 0 }, Relaxed);
                match &rename {
                    Some((from, to)) => {
                        let text = String::from_utf8_lossy(chunk).replace(&format!("Host: {from}"), &format!("Host: {to}"));
                        server.write_all(text.as_bytes()).await?;
                    }
                    None => server.write_all(chunk).await?,
                }
            }
            read = server.read(&mut down) => {
                let chunk = &down[..read?];
                if chunk.is_empty() {
                    return Ok(());
                }
                counts[2].fetch_add(if tapped { chunk.len() as u64 } else { 0 }, Relaxed);
                browser.write_all(chunk).await?;
            }
        }
    }
}
