//! The ordinary WebSocket that `/ws` is compared with: there if it is asked for, and nothing of it stays.

use crate::helper::TestServer;
use crate::raw::{CLOSE, Raw, RawWs, handshake};

async fn connected(server: &TestServer) -> RawWs {
    let mut raw = Raw::connect(server.addr).await;
    raw.send(handshake("", "", "").replacen("/ws", "/ws-stock", 1)).await;
    assert_eq!(raw.answer().await.expect("an answer").status, 101);
    let mut ws = RawWs(raw);
    ws.hello().await;
    ws
}

#[tokio::test]
async fn a_message_arrives_and_who_leaves_leaves_no_subscriber_behind() {
    let server = TestServer::start("--stock");
    for text in ["to the first", "to who comes when they have gone"] {
        let mut all = [connected(&server).await, connected(&server).await];
        server.publish(text).await;
        for ws in &mut all {
            assert_eq!(ws.json().await["text"], text);
        }
        drop(all);
        server.until("nobody reads the room", |stats| stats["subscribers"] == 0).await;
    }
}

#[tokio::test]
async fn a_drain_ends_it() {
    let server = TestServer::start("--stock");
    let mut ws = connected(&server).await;
    let stop = tokio::spawn(server.stop());
    assert_eq!(ws.next().await.first, CLOSE);
    drop(ws);
    stop.await.unwrap();
}

#[tokio::test]
async fn it_is_there_only_if_asked_for() {
    let server = TestServer::start("");
    let mut raw = Raw::connect(server.addr).await;
    assert_eq!(raw.get("/ws-stock").await.status, 404);
}
