//! The demo pages when the server or the connection to it goes away.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::browser::Browser;
use crate::helper::TestServer;
use crate::pages::{PAGES, open_all};
use crate::program::Program;

const NEW_EPOCH: &str = "The room has started anew, with a new server or after a long rest. What had not arrived before is lost.";
/// How long the long-polling page lets the server wait: longer than anything here takes.
const HOLD: &str = "?hold=60000&name=ann";
/// What a proxy says that has lost its server.
const UNAVAILABLE: &str =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn every_page_comes_back_after_a_restart_and_loses_nothing_that_was_typed() {
    // An address of its own, or while it is away another test's connection could be given its port.
    let host = "--host 127.0.0.5";
    let (mut program, browser) = (Program::start(host).await, Browser::start().await);
    let mut tabs = Vec::new();
    for page in PAGES {
        let tab = browser
            .open(&format!("http://{}{page}?room={page}", program.addr))
            .await;
        tab.send("before").await;
        tab.lists(&["before"]).await;
        tabs.push(tab);
    }
    let mut shown = vec!["before"];
    for (killed, while_away) in [(false, ["a", "b"]), (true, ["c", "d"])] {
        let port = program.addr.port();
        match killed {
            true => program.kill().await,
            false => drop(program.end().await),
        }
        for tab in &tabs {
            tab.is("retrying").await;
            for text in while_away {
                tab.send(text).await;
            }
            tab.until("#pending .status", |states| {
                states == ["sending…", "sending…"]
            })
            .await;
        }
        program = Program::start(&format!("{host} --port {port}")).await;
        shown.push(NEW_EPOCH);
        shown.extend(while_away);
        for tab in &tabs {
            tab.lists(&shown).await;
            tab.is("open").await;
            tab.until("#pending li", <[_]>::is_empty).await;
        }
    }
    assert_eq!(unexpected(&browser).await, [""; 0]);
}

#[tokio::test]
async fn every_page_resumes_after_a_cut_and_misses_nothing() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    let forwarder = Forwarder::start(server.addr).await;
    let tabs = open_all(&browser, forwarder.addr, HOLD).await;
    let [_, _, event_stream, ..] = &tabs[..] else {
        panic!("a tab of event streams")
    };
    let mut cursor = server.publish("before").await;
    let mut shown = vec!["before"];
    for tab in &tabs {
        tab.lists(&shown).await;
    }
    let resumed = "GET /sse?room=lobby&name=ann&alive=1 HTTP/1.1 and Last-Event-ID: CURSOR";
    let came_back = "GET /sse?room=lobby&after=CURSOR&name=ann&alive=1 HTTP/1.1";
    let cuts = [
        ("", "the browser makes a new one", resumed, &["1", "2"][..]),
        // Nothing to tell afterwards: a page must not wait for the next message to find that it is back.
        ("", "the browser makes a new one", resumed, &[]),
        // An error for an answer ends an event stream for good: then the page itself comes back.
        (UNAVAILABLE, "HTTP status 503", came_back, &["3", "4"]),
    ];
    for (answer, why, expected, while_away) in cuts {
        forwarder.cut(answer);
        for tab in &tabs {
            tab.is("retrying").await;
        }
        event_stream
            .until("#detail", |detail| detail[0].ends_with(why))
            .await;
        let expected = expected.replace("CURSOR", &cursor);
        for text in while_away {
            cursor = server.publish(text).await;
        }
        forwarder.restore();
        shown.extend(while_away);
        for tab in &tabs {
            tab.lists(&shown).await;
            tab.is("open").await;
        }
        assert_eq!(forwarder.last_event_stream(), expected);
    }
    assert_eq!(unexpected(&browser).await, [""; 0]);
}

#[tokio::test]
async fn every_page_comes_back_from_behind_a_closed_lid_and_misses_nothing() {
    let (server, browser) = (
        TestServer::start("--heartbeat 300ms"),
        Browser::start().await,
    );
    let tabs = open_all(&browser, server.addr, "").await;
    server.publish("before").await;
    for tab in &tabs {
        tab.lists(&["before"]).await;
    }
    let asleep = browser.sleep();
    server
        .until("who answers no ping is gone", |stats| {
            stats["connections"]["ws"] == 0
        })
        .await;
    server.publish("while it was closed").await;
    drop(asleep);
    server.publish("after").await;
    for tab in &tabs {
        tab.lists(&["before", "while it was closed", "after"]).await;
        tab.is("open").await;
    }
    assert_eq!(unexpected(&browser).await, [""; 0]);
}

#[tokio::test]
async fn a_connection_whose_other_end_has_gone_without_a_word_is_noticed() {
    let (server, browser) = (
        TestServer::start("--heartbeat 400ms"),
        Browser::start().await,
    );
    let forwarder = Forwarder::start(server.addr).await;
    for page in ["/sse.html", "/ws.html"] {
        let room = format!("?room={}", page.trim_matches('/'));
        let tab = browser
            .open(&format!("http://{}{page}{room}", forwarder.addr))
            .await;
        tab.is("open").await;
        let publish = async |text: &str| {
            let body = serde_json::json!({ "from": "ann", "text": text }).to_string();
            assert_eq!(
                server.post(&format!("/messages{room}"), body).await.status,
                201
            );
        };
        publish("before").await;
        tab.lists(&["before"]).await;
        let told = tab
            .run("return document.querySelector('[data-beat]').textContent")
            .await;
        assert_eq!(told, "0.4 s", "{page}: as this server has it");
        forwarder.forget();
        publish("meanwhile").await;
        tab.send("typed").await;
        tab.until("#messages .text", |texts| texts.len() == 3).await;
        tab.until("#pending li", <[_]>::is_empty).await;
        let mut said = tab.texts("#messages .text").await;
        said.sort_unstable();
        assert_eq!(said, ["before", "meanwhile", "typed"], "each once");
        // It does not leave what is alive: the state stays as it is over many signs of life.
        tab.run("window.left = 0; new MutationObserver(() => window.left += 1).observe(state, { childList: true })")
            .await;
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        assert_eq!(tab.run("return window.left").await, 0);
    }
}

#[tokio::test]
async fn a_network_that_is_back_ends_the_wait_for_the_next_attempt() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    let forwarder = Forwarder::start(server.addr).await;
    let tabs = open_all(&browser, forwarder.addr, HOLD).await;
    for tab in &tabs {
        tab.is("open").await;
        // The longest wait: it would be over after this test.
        tab.run("Math.random = () => 600").await;
    }
    forwarder.cut(UNAVAILABLE);
    for tab in &tabs {
        tab.until("#detail", |detail| detail[0].starts_with("in "))
            .await;
    }
    forwarder.restore();
    for tab in &tabs {
        tab.run("window.dispatchEvent(new Event('online'))").await;
        tab.is("open").await;
    }
}

/// What the console says besides that requests have failed.
async fn unexpected(browser: &Browser) -> Vec<String> {
    let failed = [
        "net::ERR_",
        "503 (Service Unavailable)",
        "WebSocket connection to",
        // Of a Socket.IO session that the server has given up.
        "=polling - Failed to load resource: the server responded with a status of 400",
    ];
    let expected = |complaint: &String| failed.iter().any(|failure| complaint.contains(failure));
    browser
        .complaints()
        .await
        .into_iter()
        .filter(|complaint| !expected(complaint))
        .collect()
}

/// Stands between a browser and a server, and can cut all connections: until it is restored, each request over a new
/// one is answered with a text of the test's, or with nothing, and the connection closed.
struct Forwarder {
    addr: SocketAddr,
    cut: watch::Sender<Option<&'static str>>,
    /// Which generation of connections is carried: those before are neither carried nor closed.
    carried: watch::Sender<u32>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Forwarder {
    async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let (cut, carried, heard) = (
            watch::Sender::new(None),
            watch::Sender::new(0),
            Arc::<Mutex<Vec<_>>>::default(),
        );
        let (state, carrying, log) = (cut.subscribe(), carried.subscribe(), Arc::clone(&heard));
        tokio::spawn(async move {
            while let Ok((browser, _)) = listener.accept().await {
                let (mut state, mut carrying, log) =
                    (state.clone(), carrying.clone(), Arc::clone(&log));
                tokio::spawn(async move {
                    let answer = *state.borrow_and_update();
                    carrying.mark_unchanged();
                    let mut carried = std::pin::pin!(carry(browser, server, answer, &log));
                    tokio::select! {
                        _ = &mut carried => {}
                        _ = state.changed() => {}
                        // Held, and not carried on with.
                        _ = carrying.changed() => std::future::pending().await,
                    }
                });
            }
        });
        Self {
            addr,
            cut,
            carried,
            heard,
        }
    }

    /// What is connected stays connected, and nothing of it is carried any more.
    fn forget(&self) {
        self.carried.send_modify(|generation| *generation += 1);
    }

    fn cut(&self, answer: &'static str) {
        self.cut.send_replace(Some(answer));
    }

    fn restore(&self) {
        self.cut.send_replace(None);
    }

    /// The first line of the last request for one, and the header by which a browser resumes.
    fn last_event_stream(&self) -> String {
        let heard = self.heard.lock().unwrap();
        let head = heard
            .iter()
            .rfind(|head| head.starts_with("GET /sse?"))
            .expect("a request");
        let resumes = |line: &&str| line.to_lowercase().starts_with("last-event-id:");
        head.lines()
            .take(1)
            .chain(head.lines().filter(resumes))
            .collect::<Vec<_>>()
            .join(" and ")
    }
}

/// Carries one connection to the server, or answers it, and notes what the browser says.
async fn carry(
    browser: TcpStream,
    server: SocketAddr,
    answer: Option<&str>,
    heard: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let (mut from_browser, mut to_browser) = browser.into_split();
    let (mut from_server, mut to_server) = TcpStream::connect(server).await?.into_split();
    let ask = async {
        let mut said = vec![0; 16 * 1024];
        loop {
            let count = from_browser.read(&mut said).await?;
            if count == 0 {
                return Ok(());
            }
            heard
                .lock()
                .unwrap()
                .push(String::from_utf8_lossy(&said[..count]).into_owned());
            if answer.is_some() {
                return Ok(());
            }
            to_server.write_all(&said[..count]).await?;
        }
    };
    let Some(answer) = answer else {
        return tokio::select! {
            asked = ask => asked,
            answered = copy(&mut from_server, &mut to_browser) => answered.map(drop),
        };
    };
    ask.await?;
    to_browser.write_all(answer.as_bytes()).await
}
