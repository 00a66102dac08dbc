//! A server on a free port for a test.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::ops::Deref;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::Parser;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use server::{Config, Server};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::program::{SHIPPED, program};
use crate::raw::PATIENCE;

/// The clients of raw bytes call every server so.
pub(crate) const RAW_HOST: &str = "--allow-host test";

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    config: Config,
}

/// A running server; dropped, it goes with the test's runtime, or at once.
pub(crate) struct TestServer {
    api: Api,
    runs: Runs,
}

enum Runs {
    Here(oneshot::Sender<()>, JoinHandle<()>),
    /// It goes with its standard input.
    Shipped(Child),
}

impl TestServer {
    /// With the defaults, and these flags of the command line; without a heartbeat, unless they say how often.
    pub(crate) fn start(flags: &str) -> Self {
        let heartbeat = if flags.contains("--heartbeat") {
            ""
        } else {
            "--heartbeat 1h"
        };
        let flags = format!("--port 0 {RAW_HOST} {heartbeat} {flags}");
        if SHIPPED.is_some() {
            return Self::start_shipped(&flags);
        }
        let arguments = ["test"].into_iter().chain(flags.split_whitespace());
        let server = Server::bind(Flags::parse_from(arguments).config).expect("a free port");
        let (stop, stopped) = oneshot::channel();
        let addr = server.addr();
        let done = tokio::spawn(server.serve(async { drop(stopped.await) }));
        Self {
            api: Api::at(addr),
            runs: Runs::Here(stop, done),
        }
    }

    fn start_shipped(flags: &str) -> Self {
        let flags = format!("{flags} --print-addr --exit-with-stdin --log off");
        let mut command = Command::new(program());
        command
            .args(flags.split_whitespace())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("the server starts");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self {
            api: Api::at(line.trim().parse().expect("an address")),
            runs: Runs::Shipped(child),
        }
    }

    /// The process it runs in.
    pub(crate) fn process(&self) -> u32 {
        match &self.runs {
            Runs::Here(..) => std::process::id(),
            Runs::Shipped(child) => child.id(),
        }
    }

    /// Drains it and waits until it has ended.
    pub(crate) async fn stop(self) {
        match self.runs {
            Runs::Here(stop, done) => {
                drop(stop);
                done.await.expect("the server does not panic");
            }
            Runs::Shipped(child) => {
                let end = tokio::task::spawn_blocking(|| child.wait_with_output());
                assert!(
                    end.await.unwrap().expect("it ends").status.success(),
                    "the server does not panic"
                );
            }
        }
    }
}

impl Deref for TestServer {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

/// What any server can be asked, in this process or another.
pub(crate) struct Api {
    pub(crate) addr: SocketAddr,
    http: reqwest::Client,
}

impl Api {
    pub(crate) fn at(addr: SocketAddr) -> Self {
        Self {
            addr,
            http: reqwest::Client::new(),
        }
    }

    /// `http://ADDR` and a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::to(self.http.get(self.url(path))).await
    }

    /// A poll that already has the answer of this `ETag`.
    pub(crate) async fn get_unless(&self, path: &str, etag: &str) -> Answer {
        Answer::to(self.http.get(self.url(path)).header("if-none-match", etag)).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        Answer::to(self.http.post(self.url(path)).body(body)).await
    }

    /// Publishes to the lobby; the cursor of the message.
    pub(crate) async fn publish(&self, text: &str) -> String {
        let answer = self
            .post(
                "/messages",
                json!({ "from": "ann", "text": text }).to_string(),
            )
            .await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.cursor()
    }

    pub(crate) async fn stats(&self) -> Value {
        self.get("/stats").await.json()
    }

    /// Asks for the statistics again and again until they are so.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) {
        let mut last = Value::Null;
        let ask = async {
            loop {
                last = self.stats().await;
                if is_so(&last) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, ask).await.is_ok();
        assert!(
            in_time,
            "not before the deadline: {what}; in the end {last}"
        );
    }
}

/// What the server said to a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    async fn to(request: reqwest::RequestBuilder) -> Self {
        let response = request.timeout(PATIENCE).send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self {
            status,
            headers,
            body: response.text().await.expect("the whole answer"),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)
            .map(|value| value.to_str().expect("ASCII"))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("JSON: {self:?}"))
    }

    pub(crate) fn cursor(&self) -> String {
        self.json()["cursor"]
            .as_str()
            .unwrap_or_else(|| panic!("a cursor: {self:?}"))
            .to_owned()
    }

    /// The texts of the messages in it.
    pub(crate) fn texts(&self) -> Vec<String> {
        let json = self.json();
        let messages = json["messages"]
            .as_array()
            .unwrap_or_else(|| panic!("messages: {self:?}"));
        messages
            .iter()
            .map(|message| message["text"].as_str().unwrap().to_owned())
            .collect()
    }
}
