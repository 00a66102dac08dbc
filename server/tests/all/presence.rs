//! Who is here, over every transport; and who has vanished.

use std::time::Duration;

use tokio::process::Command;

use crate::helper::{Api, TestServer};
use crate::program::program;
use crate::raw::RawWs;

/// Who is in a room, as `name over`.
async fn here(server: &Api, room: &str) -> Vec<String> {
    let answer = server.get(&format!("/presence?room={room}")).await.json();
    let present = answer["present"].as_array().expect("a list").clone();
    let text = |who: &serde_json::Value, part: &str| who[part].as_str().unwrap().to_owned();
    present
        .iter()
        .map(|who| format!("{} {}", text(who, "name"), text(who, "transport")))
        .collect()
}

#[tokio::test]
async fn who_names_itself_is_here_over_what_it_uses_and_gone_when_it_goes() {
    let server = TestServer::start("");
    assert_eq!(here(&server, "tea").await, [""; 0]);
    let stream = reqwest::get(server.url("/sse?room=tea&name=ann"))
        .await
        .unwrap();
    let socket = RawWs::open(server.addr, "?room=tea&name=bob").await;
    server.get("/short-poll?room=tea&name=cy").await;
    server.get("/long-poll?room=tea&name=di").await;
    server.get("/sse?room=tea&name=").await;
    server.get("/short-poll?room=tea").await;
    server
        .until("sse and ws are open", |stats| {
            stats["transports"]["ws"]["open"] == 1
        })
        .await;
    let all = ["ann sse", "bob ws", "cy short-poll", "di long-poll"];
    assert_eq!(here(&server, "tea").await, all);
    assert_eq!(here(&server, "other").await, [""; 0]);
    drop((stream, socket));
    server
        .until("they are gone", |stats| stats["subscribers"] == 0)
        .await;
    let left = here(&server, "tea").await;
    assert_eq!(
        left,
        ["cy short-poll", "di long-poll"],
        "they may ask again"
    );
    let long = "x".repeat(65);
    let refused = server.get(&format!("/short-poll?name={long}")).await;
    assert_eq!(refused.json()["error"]["parameter"], "name");
}

/// A hundred clients of each transport, who then say nothing, as those do whose link is gone.
const CLIENTS: &str = r#"
import socket, time
server = ("10.9.0.1", 3999)
upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"

def ask(path, more=""):
    connection = socket.create_connection(server)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 10.9.0.1:3999\r\n{more}\r\n".encode())
    open_ones.append(connection)
    return connection

open_ones = []
cursor = ask("/short-poll?room=tea").recv(4096).split(b'"cursor":"')[1].split(b'"')[0].decode()
for n in range(100):
    ask(f"/short-poll?room=tea&name=p{n}")
    ask(f"/long-poll?room=tea&name=l{n}&after={cursor}&wait=25s")
    ask(f"/sse?room=tea&name=s{n}")
    ask(f"/ws?room=tea&name=w{n}", upgrade)
    session = ask("/socket.io/?EIO=4&transport=websocket", upgrade)
    session.recv(4096)
    enter = ('40{"room":"tea","name":"i%d"}' % n).encode()
    session.sendall(bytes([0x81, 0x80 | len(enter), 0, 0, 0, 0]) + enter)
time.sleep(200)
"#;

/// In a network of two links, one of which is then taken down: nobody says goodbye.
const VANISH: &str = r#"
set -e
ip link set lo up
ip link add name here type veth peer name there
ip addr add 10.9.0.1/24 dev here && ip link set here up
unshare --net sleep 200 & other=$!
trap 'kill $other $clients $server 2>/dev/null || true' EXIT
sleep 0.5
ip link set there netns $other
nsenter --net=/proc/$other/ns/net sh -c 'ip addr add 10.9.0.2/24 dev there && ip link set there up'
"$0" --host 0.0.0.0 --allow-host 10.9.0.1 --port 3999 --log off & server=$!
sleep 1
curl -s http://127.0.0.1:3999/healthz >/dev/null
empty=$(ls /proc/$server/fd | wc -l)
nsenter --net=/proc/$other/ns/net python3 -c "$1" & clients=$!
here() { curl -s "http://127.0.0.1:3999/presence?room=tea" | grep -o '"name"' | wc -l; }
for i in $(seq 100); do [ "$(here)" = 500 ] && break; sleep 0.1; done
echo "here $(here)"
ip link set here down
began=$(date +%s)
held() { echo $(($(ls /proc/$server/fd | wc -l) - empty)); }
for i in $(seq 150); do [ "$(here) $(held)" = "0 0" ] && break; sleep 0.5; done
echo "seconds $(($(date +%s) - began))" >&2
echo "left $(here), descriptors $(held)"
curl -s http://127.0.0.1:3999/stats | grep -o '"subscribers":[0-9]*'
"#;

#[tokio::test]
async fn who_vanishes_without_a_word_is_gone_within_65_seconds_over_every_transport() {
    let arguments = [
        "--net",
        "--map-root-user",
        "bash",
        "-c",
        VANISH,
        program(),
        CLIENTS,
    ];
    let mut command = Command::new("unshare");
    let child = command.args(arguments).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(120), child);
    let output = output.await.expect("it ends").expect("unshare is there");
    let (said, took) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert_eq!(
        said, "here 500\nleft 0, descriptors 0\n\"subscribers\":0\n",
        "{took}"
    );
    let took: u64 = took
        .rsplit("seconds ")
        .next()
        .unwrap()
        .trim()
        .parse()
        .expect("how long it took");
    println!("gone after {took} s");
    assert!(took <= 65 + 5, "{took} s");
}
