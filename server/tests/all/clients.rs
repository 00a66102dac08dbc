//! Clients of other makers: curl, and Python's `websockets`.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;
use tokio::time::timeout;

use crate::helper::TestServer;
use crate::raw::PATIENCE;

/// Runs a program to its end; its standard output.
pub(crate) async fn run(program: &str, arguments: &[&str], package: &str) -> String {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE, child).await.expect("it ends");
    let output = output
        .unwrap_or_else(|error| panic!("{program}: {error}; install {package} (./test.sh does)"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} failed; if it is not there, install {package} (./test.sh does): {said}"
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Where `./test.sh` has npm install what the tests need.
pub(crate) const MODULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/npm");

/// Runs a script with npm's packages; what it prints.
pub(crate) async fn node(script: &str, arguments: &[&str]) -> String {
    let there = Path::new(MODULES).join("node_modules");
    assert!(
        there.is_dir(),
        "npm has installed nothing in {MODULES}; ./test.sh has it do so"
    );
    // What it requires is looked for from that folder on.
    let script = format!(
        "const use = require('node:module').createRequire({:?});{script}",
        format!("{MODULES}/")
    );
    run("node", &[&["-e", &script], arguments].concat(), "nodejs").await
}

/// What curl prints: the head, the body, and on a last line of its own the status.
async fn curl(arguments: &[&str]) -> String {
    run(
        "curl",
        &[&["-sS", "-i", "-w", "\n%{http_code}"], arguments].concat(),
        "curl",
    )
    .await
}

/// The value of a header in what curl printed.
fn header<'a>(printed: &'a str, name: &str) -> &'a str {
    let line = printed
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name} in {printed}"))
}

#[tokio::test]
async fn curl_publishes_polls_and_is_told_304_while_nothing_is_new() {
    let server = TestServer::start("");
    let (messages, poll) = (
        server.url("/messages?room=tea"),
        server.url("/short-poll?room=tea"),
    );
    let body = r#"{"from":"curl","text":"hi","key":"1"}"#;
    assert!(curl(&["--json", body, &messages]).await.ends_with("\n201"));
    assert!(
        curl(&["--json", body, &messages]).await.ends_with("\n200"),
        "the same key again"
    );

    let polled = curl(&[&poll]).await;
    assert!(
        polled.contains(r#"{"seq":1,"from":"curl","text":"hi","at":"#) && polled.ends_with("\n200"),
        "{polled}"
    );
    let etag = header(&polled, "etag");
    let after = format!("{poll}&after={}", etag.trim_matches('"'));
    let condition = format!("If-None-Match: {etag}");
    let unchanged = curl(&["-H", &condition, &after]).await;
    assert!(unchanged.ends_with("\r\n\r\n\n304"), "no body: {unchanged}");
    assert_eq!(header(&unchanged, "etag"), etag);

    assert!(
        curl(&["--json", r#"{"from":"curl","text":"more"}"#, &messages])
            .await
            .ends_with("\n201")
    );
    let changed = curl(&["-H", &condition, &after]).await;
    assert!(
        changed.contains(r#""text":"more""#) && !changed.contains(r#""text":"hi""#),
        "{changed}"
    );
    assert!(changed.ends_with("\n200"));
}

#[tokio::test]
async fn curl_is_told_why_a_large_upload_is_refused() {
    let server = TestServer::start("");
    // 2 MB of zeros, which curl first asks to send (`Expect: 100-continue`) and then does.
    let upload =
        r#"head -c 2000000 /dev/zero | curl -sS -w '\n%{http_code}' --data-binary @- "$0""#;
    let said = run("sh", &["-c", upload, &server.url("/messages")], "curl").await;
    assert!(
        said.contains(r#""parameter":"body""#) && said.ends_with("\n413"),
        "{said}"
    );
}

/// Connects, publishes, reads its ack and message, goes, comes back where it was, and meets the end of the server.
const PYTHON: &str = r#"
import asyncio, json, sys, urllib.request, websockets
http, ws_url = sys.argv[1], sys.argv[1].replace("http", "ws", 1) + "/ws"

def post(text):
    body = json.dumps({"from": "urllib", "text": text}).encode()
    request = urllib.request.Request(http + "/messages", body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=10).close()

async def read(ws):
    return json.loads(await asyncio.wait_for(ws.recv(), 10))

async def main():
    async with websockets.connect(ws_url) as ws:
        epoch, seq = (await read(ws))["hello"]["cursor"].split("-")
        assert seq == "0", seq
        await ws.send(json.dumps({"from": "python", "text": "ä€🙂", "key": "k"}))
        ack = await read(ws)
        assert ack == {"ack": {"cursor": epoch + "-1", "key": "k"}}, ack
        message = await read(ws)
        assert (message["seq"], message["from"], message["text"]) == (1, "python", "ä€🙂"), message
        await asyncio.wait_for(await ws.ping("are you there"), 10)
        await ws.send(["{\"from\":\"python\",", "\"text\":\"in fragments\"}"])
        assert "ack" in await read(ws)
        assert (await read(ws))["text"] == "in fragments"
    assert ws.close_code == 1000, ws.close_code

    for n in range(3, 103):
        await asyncio.get_running_loop().run_in_executor(None, post, str(n))
    async with websockets.connect(f"{ws_url}?after={epoch}-2") as ws:
        hello = await read(ws)
        assert hello == {"hello": {"cursor": epoch + "-2"}}, hello
        for n in range(3, 103):
            message = await read(ws)
            assert (message["seq"], message["text"]) == (n, str(n)), message
        await ws.send(b"binary")
        try:
            print("not", await read(ws))
        except websockets.ConnectionClosedError as closed:
            print(closed.rcvd.code)

asyncio.run(main())
"#;

#[tokio::test]
async fn pythons_websockets_publishes_resumes_and_misses_nothing() {
    let server = TestServer::start("");
    let said = run(
        "/usr/bin/python3",
        &["-c", PYTHON, &server.url("")],
        "python3-websockets",
    )
    .await;
    assert_eq!(said, "1003\n");
    assert_eq!(server.stats().await["published"], 102);
}

/// A chat over npm's `ws`, and over its `websocket`.
const NODE: &str = r#"
const assert = require("node:assert");
const { WebSocket } = use("ws");
const { client: Client } = use("websocket");
const url = process.argv[1].replace("http", "ws") + "/ws?room=tea";

const byWs = new WebSocket(url), atWs = [], atWebsocket = [];
byWs.on("message", (data) => atWs.push(JSON.parse(data)));
byWs.on("open", () => {
  const client = new Client();
  client.on("connectFailed", (error) => { throw error; });
  client.on("connect", async (byWebsocket) => {
    byWebsocket.on("message", ({ utf8Data }) => atWebsocket.push(JSON.parse(utf8Data)));
    byWs.send(JSON.stringify({ from: "ws", text: "ä€🙂" }));
    byWebsocket.sendUTF(JSON.stringify({ from: "websocket", text: "hi" }));
    byWs.ping("are you there?");
    await new Promise((resolve) => byWs.once("pong", resolve));
    const texts = (all) => all.filter(({ seq }) => seq).map(({ text }) => text);
    while (texts(atWs).length < 2 || texts(atWebsocket).length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.deepEqual(texts(atWs), texts(atWebsocket));
    byWebsocket.close(4001, "enough");
    byWebsocket.on("close", (code) => {
      byWs.close(1000);
      byWs.on("close", (other) => console.log(code, other, texts(atWs).sort().join(" ")));
    });
  });
  client.connect(url);
});
setTimeout(() => process.exit(1), 15000).unref();
"#;

#[tokio::test]
async fn npms_ws_and_websocket_chat() {
    let server = TestServer::start("");
    assert_eq!(node(NODE, &[&server.url("")]).await, "4001 1000 hi ä€🙂\n");
}
