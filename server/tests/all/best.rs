//! The best transport that gets through, on the start page, through proxies that let less through; and back.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::browser::{Browser, Tab};
use crate::helper::TestServer;
use crate::proxies::{Proxy, nginx_configuration};

/// What a proxy lets through.
#[derive(Clone, Copy)]
struct Way {
    upgrades: bool,
    streams: bool,
    /// It cuts what is silent for so many seconds.
    cut: u32,
}

const OPEN: Way = Way {
    upgrades: true,
    streams: true,
    cut: 60,
};

fn configuration(way: Way) -> impl Fn(&str, SocketAddr, SocketAddr) -> String {
    move |at, addr, upstream| {
        let host = "proxy_set_header Host $http_host;";
        let tunnel = "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;";
        let tunnel = if way.upgrades { tunnel } else { "" };
        let buffers = "proxy_ignore_headers X-Accel-Buffering; proxy_buffering on;";
        let buffers = if way.streams { "" } else { buffers };
        let http = format!("proxy_read_timeout {}s; proxy_http_version 1.1;", way.cut);
        let of_each = [buffers, tunnel].map(|more| format!("{host} {more}"));
        nginx_configuration(
            at,
            addr,
            upstream,
            &http,
            of_each.each_ref().map(|more| &**more),
        )
    }
}

/// Waits until the page says what it is over, and what stands there then; fails if that takes too long.
async fn over(tab: &Tab<'_>, what: &str, within: Duration) {
    let begun = Instant::now();
    tab.until("#over", |texts| {
        texts
            .iter()
            .any(|text| text.starts_with(&format!("Over {what}:")))
    })
    .await;
    let took = begun.elapsed();
    println!("over {what} after {took:?}");
    assert!(took < within, "{what} after {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_start_page_settles_on_what_gets_through_and_goes_back_and_nothing_is_lost() {
    let (server, browser) = (TestServer::start(""), Browser::start().await);
    let ways = [
        (
            "Server-sent events",
            Way {
                upgrades: false,
                ..OPEN
            },
        ),
        (
            "Long polling",
            Way {
                upgrades: false,
                streams: false,
                ..OPEN
            },
        ),
        ("Short polling", Way { cut: 1, ..OPEN }),
    ];
    for (n, (settles, way)) in ways.into_iter().enumerate() {
        let mut proxy = Proxy::start("nginx", "nginx-light", &server, configuration(way))
            .listens()
            .await;
        let begun = Instant::now();
        let tab = browser
            .open(&format!("http://{}/?room=best-{n}", proxy.addr))
            .await;
        over(
            &tab,
            settles,
            Duration::from_secs(10).saturating_sub(begun.elapsed()),
        )
        .await;
        tab.send("while little gets through").await;
        tab.until("#messages .text", |texts| {
            texts == ["while little gets through"]
        })
        .await;
        proxy.configure(&server, configuration(OPEN));
        over(&tab, "WebSocket", Duration::from_secs(30)).await;
        let publish = format!("/messages?room=best-{n}");
        for n in 0..3 {
            let body = format!(r#"{{"from":"bob","text":"and {n}"}}"#);
            assert_eq!(server.post(&publish, body).await.status, 201);
        }
        tab.until("#messages .text", |texts| texts.len() == 4).await;
        proxy.configure(&server, configuration(way));
        over(&tab, settles, Duration::from_secs(40)).await;
        let body = r#"{"from":"bob","text":"last"}"#;
        assert_eq!(server.post(&publish, body).await.status, 201);
        tab.until("#messages .text", |texts| {
            texts
                == [
                    "while little gets through",
                    "and 0",
                    "and 1",
                    "and 2",
                    "last",
                ]
        })
        .await;
        tab.close().await;
    }
}
