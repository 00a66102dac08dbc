//! Foreign pages in a real browser: of another port, of another site, and of a name that was made to mean this server.

use std::net::SocketAddr;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::browser::Browser;
use crate::helper::TestServer;

/// What a page can make the browser ask without saying who it is, and what it asks itself: eleven requests, each in a room of its own.
const ASK: &str = "
    const at = (path, n) => `${server}/${path}?room=${n}`;
    for (const [tag, name] of [['iframe', 'src'], ['object', 'data'], ['embed', 'src'], ['img', 'src'], ['script', 'src']]) {
        const element = document.createElement(tag);
        element[name] = at('short-poll', tag);
        document.body.append(element);
    }
    const style = document.createElement('link');
    [style.rel, style.href] = ['stylesheet', at('long-poll', 'style')];
    document.head.append(style);
    const form = document.createElement('form');
    [form.action, form.method, form.target, form.enctype] = [at('messages', 'form'), 'post', 'frame', 'text/plain'];
    const frame = document.createElement('iframe');
    frame.name = 'frame';
    document.body.append(frame, form);
    form.submit();
    fetch(at('short-poll', 'no-cors'), { mode: 'no-cors' }).catch(() => {});
    fetch(at('short-poll', 'fetch')).catch(() => {});
    new EventSource(at('sse', 'source'));
    new WebSocket(at('ws', 'socket').replace('http', 'ws'));
";

/// A server of somebody else's: the same empty page, whatever is asked.
async fn somewhere_else() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // A browser may open one more than it uses.
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let page =
                    "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n<body>";
                let _ = stream.write_all(page.as_bytes()).await;
            });
        }
    });
    addr
}

#[tokio::test]
async fn a_foreign_page_makes_no_room_whatever_it_embeds_links_to_or_asks() {
    let browser = Browser::start_with(&["--host-resolver-rules=MAP evil.example 127.0.0.1"]).await;
    let elsewhere = somewhere_else().await;
    let named = format!("--allow-origin http://{elsewhere}");
    for (page, flags, refused, rooms) in [
        (format!("http://{elsewhere}/"), "", json!({ "403": 11 }), 0),
        (
            format!("http://evil.example:{}/", elsewhere.port()),
            "",
            json!({ "403": 11 }),
            0,
        ),
        // A named one may ask. What it only embeds does not say whose it is, and a form is no JSON.
        (
            format!("http://{elsewhere}/"),
            &*named,
            json!({ "403": 7, "415": 1 }),
            3,
        ),
    ] {
        let server = TestServer::start(flags);
        let tab = browser.open(&page).await;
        tab.run(&format!("const server = 'http://{}'; {ASK}", server.addr))
            .await;
        let answered =
            |stats: &serde_json::Value| stats["refusals"] == refused && stats["rooms"] == rooms;
        server
            .until(&format!("all of {page} is answered"), answered)
            .await;
        tab.close().await;
    }

    // The name of a page that now means this server: for the browser, all of this is of one origin.
    let server = TestServer::start("");
    let tab = browser
        .open(&format!("http://evil.example:{}/", server.addr.port()))
        .await;
    tab.run(&format!("const server = location.origin; {ASK}"))
        .await;
    // The page itself, and its eleven requests.
    server
        .until("all is refused", |stats| {
            stats["refusals"]["421"].as_u64() >= Some(12)
        })
        .await;
    assert_eq!(server.stats().await["rooms"], 0);
    tab.close().await;
}
