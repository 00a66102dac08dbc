//! The server as its operator sees it: `/metrics` and `/stats` say the same, and it is what was done.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::helper::{Answer, TestServer};
use crate::raw::{Raw, RawWs, TEXT};

/// The samples in Prometheus' text format, by name and labels; each is of a metric that was introduced.
fn samples(text: &str) -> HashMap<&str, u64> {
    let mut samples = HashMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        let metric = name.split('{').next().unwrap();
        let introduced = ["HELP", "TYPE"].map(|what| text.contains(&format!("# {what} {metric} ")));
        assert_eq!(introduced, [true; 2], "{metric}");
        assert_eq!(
            samples.insert(name, value.parse().expect("a whole number")),
            None,
            "{name} stands there twice"
        );
    }
    samples
}

/// What went over each transport, and the connections that still listen.
struct Traffic {
    /// Bytes of the frame of one message, without its header.
    length: usize,
    /// The short poll that got the second message.
    two: Answer,
    ws: RawWs,
    stream: Raw,
    held: Raw,
}

/// Two messages: each goes over a WebSocket, a stream and a poll.
async fn use_every_transport(server: &TestServer) -> Traffic {
    let (mut ws, mut stream) = (
        RawWs::open(server.addr, "").await,
        Raw::connect(server.addr).await,
    );
    stream.send("GET /sse HTTP/1.1\r\nhost: test\r\n\r\n").await;
    server
        .until("both listen", |stats| stats["subscribers"] == 2)
        .await;
    let one = server.publish("one").await;
    ws.hello().await;
    let length = ws.next().await.payload.len();
    server
        .until("both have it", |stats| stats["deliveries"] == 2)
        .await;
    server.publish("two").await;
    server
        .until("both have it", |stats| stats["deliveries"] == 4)
        .await;

    let two = server.get(&format!("/short-poll?after={one}")).await;
    server
        .get(&format!("/short-poll?after={}", two.cursor()))
        .await;
    server.get("/long-poll?after=00000000-7").await;
    let mut held = Raw::connect(server.addr).await;
    held.send(format!(
        "GET /long-poll?after={}&wait=60s HTTP/1.1\r\nhost: test\r\n\r\n",
        two.cursor()
    ))
    .await;
    server
        .until("it is held", |stats| stats["subscribers"] == 3)
        .await;
    Traffic {
        length,
        two,
        ws,
        stream,
        held,
    }
}

/// Three requests and a frame.
async fn ask_what_is_refused(server: &TestServer, ws: &mut RawWs) {
    server.get("/short-poll?after=garbage").await;
    server.get("/nowhere").await;
    server.get("/nowhere").await;
    ws.send(TEXT, "no message").await;
    ws.next().await;
}

/// What there is after `use_every_transport`: over short polls, long polls, SSE and WebSockets.
const OF_TRANSPORTS: [(&str, [u64; 4]); 5] = [
    ("deliveries_total", [1, 2, 2, 2]),
    ("batches_total", [1, 1, 2, 2]),
    ("empties_total", [1, 0, 0, 0]),
    ("gaps_total", [0, 1, 0, 0]),
    ("streams", [0, 1, 1, 1]),
];

fn assert_tells_of_transports(samples: &HashMap<&str, u64>, stats: &Value) {
    for (name, each) in OF_TRANSPORTS {
        for (transport, value) in ["short-poll", "long-poll", "sse", "ws"]
            .into_iter()
            .zip(each)
        {
            let sample = format!("workbench_{name}{{transport=\"{transport}\"}}");
            assert_eq!(samples.get(sample.as_str()), Some(&value), "{sample}");
            let key = if name == "streams" {
                "open"
            } else {
                name.trim_end_matches("_total")
            };
            assert_eq!(
                stats["transports"][transport][key], value,
                "{key} of {transport}"
            );
        }
    }
}

/// What metrics say of the server as a whole, after that and `ask_what_is_refused`.
const OF_ALL: [(&str, u64); 9] = [
    ("published_total", 2),
    ("duplicates_total", 0),
    ("refused_total", 0),
    ("slow_closes_total", 0),
    ("rooms", 1),
    ("retained_messages", 2),
    ("retention_fullest_percent", 50),
    ("refusals_total{status=\"400\"}", 1),
    ("refusals_total{status=\"404\"}", 2),
];

#[tokio::test]
async fn metrics_and_stats_tell_what_went_over_each_transport() {
    let server = TestServer::start("--retain-messages 4");
    let mut traffic = use_every_transport(&server).await;
    ask_what_is_refused(&server, &mut traffic.ws).await;

    let told = server.get("/metrics").await;
    assert_eq!(
        (told.status, told.header("content-type")),
        (200, Some("text/plain; version=0.0.4"))
    );
    let (samples, stats) = (samples(&told.body), server.stats().await);
    assert_tells_of_transports(&samples, &stats);
    assert_eq!(
        samples[r#"workbench_bytes_total{transport="ws"}"#],
        2 * (2 + traffic.length as u64),
        "both texts are of one length"
    );
    assert_eq!(
        stats["transports"]["short-poll"]["bytes"],
        traffic.two.body.len()
    );
    for (name, value) in OF_ALL {
        assert_eq!(
            samples.get(format!("workbench_{name}").as_str()),
            Some(&value),
            "{name}"
        );
    }
    assert_eq!(stats["refusals"], json!({ "400": 1, "404": 2 }));
    assert_eq!(
        stats["retained"],
        json!({ "messages": 2, "bytes": 2 * traffic.length, "fullest_percent": 50 })
    );
    assert!(
        samples["workbench_connections"] >= 4 && samples["workbench_tasks"] >= 4,
        "{}",
        told.body
    );

    drop((traffic.ws, traffic.stream, traffic.held));
    let nobody = |stats: &Value| {
        ["long-poll", "sse", "ws"]
            .iter()
            .all(|name| stats["transports"][name]["open"] == 0)
    };
    server.until("nobody listens any more", nobody).await;
}
