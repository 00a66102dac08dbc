//! Socket.IO: clients of other makers, the packets as they are, and what is no packet.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::browser::Browser;
use crate::clients::{MODULES, node, run};
use crate::helper::{Api, TestServer};
use crate::program::Program;
use crate::raw::{Raw, RawWs, TEXT, handshake};

const COMMON: &str = r#"
const { io } = use("socket.io-client");
const assert = require("node:assert");
const [url, ways] = process.argv.slice(1);
const transports = ways.split(",");
const connect = (auth) => io(url, { transports, auth, forceNew: true, reconnectionDelay: 50, reconnectionDelayMax: 100 });
const once = (socket, event) => new Promise((resolve) => socket.once(event, (...given) => resolve(given)));
const said = (socket) => { const all = []; socket.on("chat-message", (...given) => all.push(given)); return all; };
const until = async (is) => { while (!is()) await new Promise((resolve) => setTimeout(resolve, 5)); };
setTimeout(() => { console.error("too late"); process.exit(1); }, 15000).unref();
"#;

/// Two chat, one of them is cut and comes back where it stood.
const CHAT: &str = r#"
(async () => {
  const auth = { room: "tea", name: "ann" };
  const ann = connect(auth), bob = connect({ room: "tea" });
  const [atAnn, atBob] = [said(ann), said(bob)];
  let last;
  bob.on("chat-message", (text, { cursor }) => { last = cursor; });
  bob.auth = (give) => give({ room: "tea", ...(last && { after: last }) });
  const [[{ cursor }]] = await Promise.all([once(ann, "hello"), once(bob, "hello")]);
  assert(cursor.endsWith("-0"), cursor);
  if (transports.length === 2) await until(() => ann.io.engine.transport.name === "websocket");
  ann.emit("chat-message", "hi");
  const answer = await bob.emitWithAck("chat-message", { from: "bob", text: "ä€🙂 \"quoted\"", key: "k" });
  assert.deepEqual(Object.keys(answer), ["cursor"]);
  const again = await bob.emitWithAck("chat-message", { from: "bob", text: "ä€🙂 \"quoted\"", key: "k" });
  assert.equal(again.cursor, answer.cursor, "stored once");
  await until(() => atAnn.length === 2 && atBob.length === 2);
  assert.deepEqual(atAnn, atBob);
  const texts = atAnn.map(([text]) => text).sort();
  assert.deepEqual(texts, ["hi", "ä€🙂 \"quoted\""]);
  const mine = atAnn.find(([text]) => text === "hi")[1];
  assert.equal(mine.from, "ann");
  assert(Date.now() - mine.at < 10000 && /^\w{8}-[12]$/.test(mine.cursor), JSON.stringify(mine));

  bob.io.engine.close(); // As a network does that breaks.
  for (let n = 0; n < 100; n += 1) await ann.emitWithAck("chat-message", `while away ${n}`);
  await until(() => atAnn.length === 102 && atBob.length === 102);
  assert.deepEqual(atBob.slice(2).map(([text]) => text), Array.from({ length: 100 }, (_, n) => `while away ${n}`));
  assert.deepEqual(atAnn, atBob);

  const { error } = await ann.emitWithAck("chat-message", 7);
  assert(error.reason.includes("must be a text"), error.reason);
  assert.equal(error.parameter, "chat-message");
  const unknown = await ann.emitWithAck("no-such-event", "hi");
  assert(unknown.error.reason.includes("chat-message"), unknown.error.reason);
  ann.emit("chat-message", "x".repeat(65537));
  const [{ reason }] = await once(ann, "refused");
  assert(reason.includes("65536"), reason);
  for (const [wrong, says] of [[{ room: "" }, "room"], [{ after: "x" }, "after"], [{ name: 7 }, "auth must be"]]) {
    const refused = connect(wrong);
    const [{ message }] = await once(refused, "connect_error");
    assert(message.includes(says), message);
    refused.close();
  }
  const elsewhere = io(`${url}/other`, { transports, forceNew: true });
  const [{ message }] = await once(elsewhere, "connect_error");
  assert(message.includes("namespace"), message);
  console.log("done", atAnn.length);
  for (const socket of [ann, bob, elsewhere]) socket.close();
  setTimeout(() => process.exit(), 300);
})();
"#;

#[tokio::test]
async fn nodes_client_chats_over_both_transports_and_through_an_upgrade_and_resumes() {
    for ways in ["websocket", "polling", "polling,websocket"] {
        let server = TestServer::start("");
        let script = format!("{COMMON}{CHAT}");
        assert_eq!(
            node(&script, &[&server.url(""), ways]).await,
            "done 102\n",
            "{ways}"
        );
        server
            .until("all are gone", |stats| {
                stats["transports"]["socketio"]["open"] == 0
            })
            .await;
    }
}

/// A hundred events whose answers nobody waits for, to a client that has much to catch up with: in order, each answered.
const BACKLOG: &str = r#"
(async () => {
  const socket = connect({ room: "tea" }), all = said(socket), answers = [];
  await once(socket, "connect");
  for (let n = 0; n < 100; n += 1) socket.emit("chat-message", `own ${n}`, ({ cursor }) => answers.push([n, cursor]));
  await until(() => all.length === 1100 && answers.length === 100);
  // Meanwhile it was upgraded, where it can be.
  await until(() => socket.io.engine.transport.name === transports.at(-1));
  const own = all.filter(([text]) => text.startsWith("own"));
  assert.deepEqual(own.map(([text]) => text), Array.from({ length: 100 }, (_, n) => `own ${n}`));
  assert.deepEqual(answers.map(([n]) => n), Array.from({ length: 100 }, (_, n) => n));
  assert.deepEqual(answers.map(([, cursor]) => cursor), own.map(([, { cursor }]) => cursor));
  console.log("done");
  process.exit();
})();
"#;

#[tokio::test]
async fn events_are_published_in_their_order_and_each_is_answered_while_the_queue_is_full() {
    for ways in ["websocket", "polling", "polling,websocket"] {
        let server = TestServer::start("");
        for n in 0..1000 {
            let body = format!(r#"{{"from":"ann","text":"{n}"}}"#);
            server.post("/messages?room=tea", body).await;
        }
        let script = format!("{COMMON}{BACKLOG}");
        assert_eq!(
            node(&script, &[&server.url(""), ways]).await,
            "done\n",
            "{ways}"
        );
    }
}

#[tokio::test]
async fn a_session_whose_websocket_did_not_get_through_ends_at_once() {
    let server = TestServer::start("");
    let session = entered(&server, "").await;
    until(&server, &session, "hello").await;
    let mut raw = Raw::connect(server.addr).await;
    raw.send(upgrade(&session)).await;
    assert_eq!(raw.answer().await.expect("an answer").status, 101);
    // It goes, before it has said that it takes over.
    drop(raw);
    server
        .until("the session is gone", |stats| {
            stats["transports"]["socketio"]["open"] == 0
        })
        .await;
    assert_eq!(server.get(&session).await.status, 400);
}

/// Long before an upgrade times out, after 10 s.
const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_session_for_which_as_much_waits_as_may_is_upgraded_soon_and_gets_it_all() {
    let server = TestServer::start("");
    for n in 0..100 {
        server.publish(&format!("message {n}.")).await;
    }
    let session = entered(&server, "").await;
    // Nobody asks: what waits for it stays.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let raw = Raw::connect(server.addr).await;
    let mut socket = RawWs::begin(raw, &upgrade(&session))
        .await
        .expect("it is let in");
    socket.send(TEXT, "2probe").await;
    let answer = timeout(SOON, socket.next()).await.expect("it is upgraded");
    assert_eq!(answer.text(), "3probe");
    socket.send(TEXT, "5").await;
    let mut n = 0;
    while n < 100 {
        let packet = socket.next().await;
        if packet.text().contains("chat-message") {
            let expected = format!("\"message {n}.\"");
            assert!(packet.text().contains(&expected), "{packet:?}");
            n += 1;
        }
    }
}

/// The tutorial's page logic, with a page's elements in its place.
const TUTORIAL: &str = r#"
(async () => {
  const list = [], socket = io(url, { transports });
  const append = (message) => list.push(message);
  socket.on("chat-message", (message) => { append(message); });
  await once(socket, "connect");
  socket.emit("chat-message", "hello from the form");
  await until(() => list.length === 2);
  console.log(JSON.stringify(list));
  process.exit();
})();
"#;

#[tokio::test]
async fn the_tutorials_client_sees_what_other_transports_said_and_they_see_its() {
    let server = TestServer::start("");
    server.publish("hello over HTTP").await;
    let script = format!("{COMMON}{TUTORIAL}");
    let list = node(&script, &[&server.url(""), "polling,websocket"]).await;
    assert_eq!(list, "[\"hello over HTTP\",\"hello from the form\"]\n");
    let polled = server.get("/short-poll").await;
    assert_eq!(polled.texts(), ["hello over HTTP", "hello from the form"]);
    assert_eq!(polled.json()["messages"][1]["from"], "anonymous");
}

/// A client of yet another maker.
const PYTHON: &str = r#"
import sys, socketio
url, way = sys.argv[1:]
client, got = socketio.Client(reconnection=False), []
client.on("chat-message", lambda text, more=None: got.append(text))
client.connect(url, transports=way.split(","), auth={"room": "tea"})
answer = client.call("chat-message", "from python", timeout=10)
assert "cursor" in answer, answer
for n in range(200):
    if got: break
    client.sleep(0.05)
client.disconnect()
print(got)
"#;

#[tokio::test]
async fn pythons_client_chats_over_both_transports() {
    for ways in ["websocket", "polling", "polling,websocket"] {
        let server = TestServer::start("");
        let arguments = ["-c", PYTHON, &server.url(""), ways];
        let said = run("/usr/bin/python3", &arguments, "python3-socketio").await;
        assert_eq!(said, "['from python']\n", "{ways}");
    }
}

/// Opens a session over polling; where to ask and to send.
async fn open(server: &Api) -> String {
    let path = "/socket.io/?EIO=4&transport=polling";
    let answer = server.get(path).await;
    let open: Value =
        serde_json::from_str(answer.body.strip_prefix('0').expect("an open packet")).unwrap();
    format!("{path}&sid={}", open["sid"].as_str().unwrap())
}

/// The handshake by which a session asks for a WebSocket.
fn upgrade(session: &str) -> String {
    let path = session.replace("polling", "websocket");
    handshake("", "", "").replace("/ws", &path)
}

/// Enters the lobby of a session.
async fn entered(server: &Api, auth: &str) -> String {
    let session = open(server).await;
    assert_eq!(server.post(&session, format!("40{auth}")).await.body, "ok");
    session
}

/// All that a session is told, until it is told this.
async fn until(server: &Api, session: &str, what: &str) -> String {
    let mut told = String::new();
    while !told.contains(what) {
        let answer = server.get(session).await;
        assert_eq!(answer.status, 200, "{told}, and then {answer:?}");
        told += &answer.body;
    }
    told
}

#[tokio::test]
async fn packets_are_as_the_protocols_have_them() {
    let server = TestServer::start("");
    let answer = server.get("/socket.io/?EIO=4&transport=polling").await;
    let open: Value = serde_json::from_str(&answer.body[1..]).unwrap();
    assert_eq!(open["upgrades"], json!(["websocket"]));
    assert_eq!(open["pingInterval"], 3_600_000, "{open}");
    let session = entered(&server, "").await;
    let told = until(&server, &session, "42[\"hello\"").await;
    assert!(told.contains("40{\"sid\":"), "{told}");
    server.publish("hi").await;
    until(
        &server,
        &session,
        "42[\"chat-message\",\"hi\",{\"cursor\":\"",
    )
    .await;
    assert_eq!(
        server
            .post(&session, "427[\"chat-message\",\"ho\"]")
            .await
            .body,
        "ok"
    );
    until(&server, &session, "437[{\"cursor\"").await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_harms_nobody() {
    let server = TestServer::start("");
    for (path, says) in [
        ("/socket.io/", "Transport unknown"),
        ("/socket.io/?EIO=4", "Transport unknown"),
        ("/socket.io/?EIO=4&transport=pigeon", "Transport unknown"),
        (
            "/socket.io/?EIO=3&transport=polling",
            "Unsupported protocol version",
        ),
        (
            "/socket.io/?EIO=4&transport=polling&sid=unknown",
            "Session ID unknown",
        ),
    ] {
        let answer = server.get(path).await;
        assert!(
            answer.status == 400 && answer.body.contains(says),
            "{path}: {answer:?}"
        );
    }
    assert_eq!(
        server
            .get("/socket.io/?EIO=4&transport=websocket")
            .await
            .status,
        426
    );
    let early = server
        .post("/socket.io/?EIO=4&transport=polling", "40")
        .await;
    assert!(early.body.contains("Bad handshake method"), "{early:?}");
    // Each of these ends its session at most.
    for packet in [
        "",
        "x",
        "9",
        "4",
        "42",
        "42[",
        "42[7]",
        "45",
        "450-[\"chat-message\"]",
        "42/none,[]",
    ] {
        let session = entered(&server, "").await;
        let answer = server.post(&session, packet.to_owned()).await;
        assert!(
            [200, 400, 413].contains(&answer.status),
            "{packet:.20}: {answer:?}"
        );
    }
    let session = entered(&server, "").await;
    until(&server, &session, "hello").await;
    let binary = "451-[\"chat-message\",{\"_placeholder\":true,\"num\":0}]\x1ebAQID";
    assert_eq!(server.post(&session, binary).await.body, "ok");
    let told = until(&server, &session, "refused").await;
    assert!(told.contains("must be a text"), "{told}");
    server.publish("still here").await;
    until(&server, &session, "still here").await;
}

#[tokio::test]
async fn a_drain_is_said_and_what_was_stored_is_delivered_first() {
    let server = TestServer::start("");
    let session = entered(&server, "").await;
    until(&server, &session, "hello").await;
    for n in 0..100 {
        server.publish(&format!("message {n}")).await;
    }
    let url = server.url(&session);
    let reader = tokio::spawn(async move {
        let (http, mut told) = (reqwest::Client::new(), String::new());
        while let Ok(answer) = http.get(&url).send().await {
            match answer.text().await {
                Ok(text) if !text.is_empty() => told += &text,
                _ => break,
            }
        }
        told
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.stop().await;
    let told = reader.await.unwrap();
    assert_eq!(told.matches("chat-message").count(), 100, "{told}");
    assert!(
        told.contains("message 99") && told.contains("closing"),
        "{told}"
    );
}

#[tokio::test]
async fn a_foreign_page_may_not_use_it() {
    let server = TestServer::start("");
    let http = reqwest::Client::new();
    for path in [
        "/socket.io/?EIO=4&transport=polling",
        "/socket.io/?EIO=4&transport=websocket",
    ] {
        let asked = http
            .get(server.url(path))
            .header("origin", "http://elsewhere.example");
        assert_eq!(asked.send().await.unwrap().status(), 403, "{path}");
    }
}

#[tokio::test]
async fn floods_of_namespaces_and_of_events_leave_memory_flat() {
    let server = Program::start("--allow-host 127.0.0.1").await;
    let session = entered(&server, "").await;
    until(&server, &session, "hello").await;
    let flood = |n: usize| -> String {
        let packet = |i: usize| match i % 4 {
            0 => format!("40/namespace-{n}-{i},{{\"x\":\"{}\"}}", "y".repeat(1000)),
            1 => format!("42[\"event-{n}-{i}\",\"{}\"]", "y".repeat(1000)),
            2 => format!("42{i}[\"chat-message\",{i}]"),
            _ => format!("43{i}[]"),
        };
        // With its answer to whatever ping there was; and what the last of them is answered with shows that all were.
        let last = format!("42{}[\"chat-message\",0]", 10_000 + n);
        let packets = (0..200).map(packet).chain(["3".into(), last]);
        packets.collect::<Vec<_>>().join("\x1e")
    };
    let mut before = 0;
    for n in 0..300 {
        assert_eq!(server.post(&session, flood(n)).await.body, "ok");
        until(&server, &session, &format!("43{}[", 10_000 + n)).await;
        if n == 100 {
            before = server.memory("VmRSS");
        }
    }
    let after = server.memory("VmRSS");
    assert!(after < before + 4096, "from {before} to {after} KiB");
    assert_eq!(server.stats().await["rooms"], 1);
}

#[tokio::test]
async fn who_does_not_ask_until_the_write_deadline_is_disconnected_and_resumes_without_a_loss() {
    let server = TestServer::start("--write-deadline 300ms");
    let session = entered(&server, "").await;
    let hello = until(&server, &session, "hello").await;
    for n in 0..100 {
        server.publish(&format!("message {n}.")).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    // What waits for it, and then that it is disconnected; or the session is gone by then.
    let mut told = vec![hello];
    while told.last().is_none_or(|packet| packet != "41") {
        let answer = server.get(&session).await;
        if answer.status == 400 {
            break;
        }
        assert_eq!(answer.status, 200, "{told:?}, and then {answer:?}");
        told.extend(answer.body.split('\x1e').map(String::from));
    }
    let told = told.join("\n");
    let count = told.matches("chat-message").count();
    assert!(count < 100, "{told}");
    let last = told.rsplit("\"cursor\":\"").next().unwrap();
    let last = last.split('"').next().unwrap();
    let again = entered(&server, &format!("{{\"after\":\"{last}\"}}")).await;
    let rest = until(&server, &again, "message 99.").await;
    assert!(rest.contains(&format!("\"message {count}.\"")), "{rest}");
    assert_eq!(rest.matches("chat-message").count(), 100 - count);
}

#[tokio::test]
async fn sessions_are_bounded_and_say_how_much_they_take_at_once() {
    let server = TestServer::start("--max-connections 3");
    let path = "/socket.io/?EIO=4&transport=polling";
    for _ in 0..3 {
        let opened = server.get(path).await;
        assert!(opened.body.contains("\"maxPayload\":294912"), "{opened:?}");
    }
    let refused = server.get(path).await;
    assert_eq!(refused.status, 503);
    assert!(refused.body.contains("--max-connections"), "{refused:?}");
}

#[tokio::test]
async fn the_clients_script_is_served_if_there_is_one() {
    let path = "/socket.io/socket.io.js";
    let without = TestServer::start("").get(path).await;
    assert_eq!(without.status, 404);
    assert!(without.body.contains("--socketio-client"), "{without:?}");
    let file = std::env::temp_dir().join(format!("socketio-client-{}.js", std::process::id()));
    std::fs::write(&file, "export const io = 7;").unwrap();
    let server = TestServer::start(&format!("--socketio-client {}", file.display()));
    let script = server.get(path).await;
    std::fs::remove_file(file).unwrap();
    assert_eq!(script.body, "export const io = 7;");
    assert_eq!(
        script.header("content-type"),
        Some("text/javascript; charset=utf-8")
    );
}

/// The tutorial's page: a list, a form, and its script, after that of the library.
const PAGE: &str = r#"
document.body.innerHTML = '<ul id="messages"></ul><form id="form"><input id="input"><button id="go">Send</button></form>';
const script = document.createElement("script");
script.src = "/socket.io/socket.io.js";
script.onload = () => {
  const socket = io();
  const [form, input, messages] = ["form", "input", "messages"].map((id) => document.getElementById(id));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    socket.emit("chat-message", input.value);
    input.value = "";
  });
  socket.on("chat-message", (text) => {
    const item = document.createElement("li");
    item.textContent = text;
    messages.append(item);
  });
};
document.head.append(script);
"#;

#[tokio::test]
async fn the_tutorials_page_works_in_a_browser_with_the_librarys_own_script() {
    let client = format!("{MODULES}/node_modules/socket.io/client-dist/socket.io.js");
    let server = TestServer::start(&format!("--socketio-client {client}"));
    let browser = Browser::start().await;
    let ann = browser.open(&server.url("/seventh.html")).await;
    ann.run(PAGE).await;
    let bob = browser.open(&server.url("/seventh.html")).await;
    bob.run(PAGE).await;
    server.publish("over HTTP").await;
    for tab in [&ann, &bob] {
        tab.until("#messages li", |items| items == ["over HTTP"])
            .await;
    }
    ann.fill("#input", "from the form").await;
    ann.click("#go").await;
    for tab in [&ann, &bob] {
        tab.until("#messages li", |items| {
            items == ["over HTTP", "from the form"]
        })
        .await;
    }
    assert_eq!(browser.complaints().await, [""; 0]);
}
