//! The demo pages, in a real browser.

use std::net::SocketAddr;

use reqwest::Client;
use serde_json::json;

use crate::browser::{Browser, Tab};
use crate::helper::TestServer;

/// In the order of the start page.
pub(crate) const PAGES: [&str; 4] = ["/short-poll.html", "/long-poll.html", "/sse.html", "/ws.html"];

#[tokio::test]
async fn two_tabs_of_any_page_see_each_others_messages_once_and_in_order() {
    let browser = Browser::start().await;
    // A server for each: a browser opens only so many connections to one.
    let servers = PAGES.map(|_| TestServer::start(""));
    for (page, server) in PAGES.iter().zip(&servers) {
        let ann = browser.open(&server.url(&format!("{page}?room=tea&name=ann"))).await;
        let bob = browser.open(&server.url(&format!("{page}?room=tea&name=bob"))).await;
        let mut said = Vec::new();
        for [from_ann, from_bob] in [["1", "2"], ["3", "4"]] {
            for (tab, text) in [(&ann, from_ann), (&bob, from_bob)] {
                tab.send(text).await;
                said.push(text);
                ann.lists(&said).await;
                bob.lists(&said).await;
            }
        }
        // Many at once keep their order too.
        let many: Vec<_> = ('a'..='z').map(String::from).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        ann.send_at_once(&many).await;
        said.extend(&many);
        bob.lists(&said).await;
        ann.lists(&said).await;
        ann.until("#pending li", <[_]>::is_empty).await;
        assert_eq!(bob.texts("#messages bdi").await[..5], ["ann", "bob", "ann", "bob", "ann"]);
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
    tabs[0].until("#messages .text", |texts| texts.len() == 16).await;
    let order = tabs[0].texts("#messages .text").await;
    let order: Vec<_> = order.iter().map(String::as_str).collect();
    for (tab, page) in tabs.iter().zip(PAGES) {
        tab.lists(&order).await;
        tab.until("#pending li", <[_]>::is_empty).await;
        let own = order.iter().filter_map(|text| text.strip_suffix(page));
        assert_eq!(own.collect::<Vec<_>>(), ["", "a from ", "b from ", "c from "]);
    }
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[tokio::test]
async fn a_hostile_text_and_a_hostile_name_are_shown_as_text() {
    let hostile = "<img src=x onerror=alert(1)>";
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    let tabs = open_all(&browser, server.addr, "?room=h").await;
    for tab in &tabs {
        tab.fill("#name", hostile).await;
        tab.send(hostile).await;
    }
    for tab in &tabs {
        tab.lists(&[hostile; 4]).await;
        assert_eq!(tab.texts("#messages bdi").await, [hostile; 4]);
        assert_eq!(tab.texts("img").await, [""; 0]);
    }
    assert_eq!(browser.complaints().await, [""; 0]);
}

#[tokio::test]
async fn the_start_page_leads_to_every_technique_and_complains_of_nothing() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    let start = browser.open(&server.url("/")).await;
    assert_eq!(start.texts("h2").await, ["Short polling", "Long polling", "Server-sent events", "WebSocket"]);
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
        tab.until("#older:not([hidden])", |texts| texts.len() == 1).await;
    }
}

#[tokio::test]
async fn a_page_that_fell_behind_the_window_says_how_many_messages_it_missed() {
    let (server, browser) = (TestServer::start("--window-messages 3"), Browser::start().await);
    let tab = browser.open(&server.url("/short-poll.html?room=w")).await;
    tab.is("open").await;
    publish(&server, "w", 1).await;
    tab.lists(&["1"]).await;
    publish(&server, "w", 10).await;
    // A poll may fall in between: however many gaps there are, they and the messages make up all that was said.
    tab.until("#messages > li", |rows| rows.last().is_some_and(|row| row.contains("counter10"))).await;
    let notes = tab.texts("#messages .note").await;
    let missed = notes.iter().map(|note| note.split_once(" messages were missed").expect("a gap").0);
    let missed: usize = missed.map(|count| count.parse::<usize>().expect("a number")).sum();
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
        tab.until("#pending .refusal", |why| matches!(why, [why] if why.contains("a control character"))).await;
        tab.click("#pending button:last-child").await;
        tab.until("#pending li", <[_]>::is_empty).await;
    }
}

/// A tab of each page.
pub(crate) async fn open_all<'a>(browser: &'a Browser, addr: SocketAddr, query: &str) -> Vec<Tab<'a>> {
    let mut tabs = Vec::new();
    for page in PAGES {
        tabs.push(browser.open(&format!("http://{addr}{page}{query}")).await);
    }
    tabs
}

/// Publishes the numbers from 1.
async fn publish(server: &TestServer, room: &str, count: usize) {
    let (http, url) = (Client::new(), server.url(&format!("/messages?room={room}")));
    for n in 1..=count {
        let body = json!({ "from": "counter", "text": n.to_string() }).to_string();
        assert_eq!(http.post(&url).body(body).send().await.expect("an answer").status(), 201);
    }
}
