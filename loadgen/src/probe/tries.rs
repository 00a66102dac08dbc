//! The short tries: who answers, what becomes of an upgrade and of headers, how promptly an event stream comes through.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderName, IF_NONE_MATCH, LOCATION, ORIGIN};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::connection::{Answer, Came, Http, PATIENCE, Path, Refusal, end, next, read};
use super::findings::{
    Answers, End, Fate, Findings, Header, Page, Servers, Stream, Upgrade, milliseconds,
};
use crate::foreign::plain;
use crate::result::variant::Transport;

/// New connections that are asked who answers: with two servers by chance, all meet the same once in 32 times.
const ASKED: u32 = 6;
/// An event that has not come by then is held back: the path buffers.
const PROMPT: Duration = Duration::from_secs(5);
/// A message is published again after this long, as often as this: with several servers, the stream hears of one alone.
const AGAIN: Duration = Duration::from_millis(300);
const TIMES: usize = 6;
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Who answers, as `/healthz` has it.
#[derive(Deserialize)]
struct Health {
    name: String,
    instance: Option<String>,
}

/// A connection that is opened again when its peer has closed it.
pub(super) struct Kept<'a> {
    path: &'a Path,
    http: Option<Http>,
}

impl<'a> Kept<'a> {
    pub(super) fn on(path: &'a Path) -> Self {
        Self { path, http: None }
    }

    async fn answer(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: &str,
    ) -> Result<Answer, End> {
        if let Some(http) = &mut self.http
            && let Ok(answer) = http
                .answer(method.clone(), path, headers, body.to_owned())
                .await
        {
            return Ok(answer);
        }
        let http = self.http.insert(self.path.http().await?);
        http.answer(method, path, headers, body.to_owned()).await
    }

    /// Publishes a text as a program does; whether it was taken.
    pub(super) async fn publish(&mut self, text: &str) -> bool {
        self.post(text, &[])
            .await
            .is_ok_and(|answer| answer.status.is_success())
    }

    async fn post(&mut self, text: &str, more: &[(HeaderName, &str)]) -> Result<Answer, End> {
        let headers = [&[(CONTENT_TYPE, "application/json")], more].concat();
        let draft = json!({ "from": "probe", "text": text }).to_string();
        let path = self.path.at("messages", "");
        self.answer(Method::POST, &path, &headers, &draft).await
    }
}

/// Looks whether a server of the workbench answers there; if not, says what does.
pub(super) async fn contact(path: &Path, url: &str, found: &mut Findings) -> Result<()> {
    let asked = async { path.http().await?.get("/healthz").await };
    let answer = match asked.await {
        Ok(answer) => answer,
        Err(End::NotOpened { why }) => bail!(
            "probe {url}: nothing answers there ({why}); give the address of the balancer or proxy, with a server of \
             this workbench behind it"
        ),
        Err(End::Silent) => bail!(
            "probe {url}: it takes connections, and no answer came within {} s",
            PATIENCE.as_secs()
        ),
        Err(_) => bail!("probe {url}: what listens there gives no HTTP answer"),
    };
    let (status, says) = (answer.status, answer.says());
    if status.is_redirection() {
        let to = plain(answer.header(LOCATION.as_str()).unwrap_or_default()).into_owned();
        bail!(
            "probe {url}: it sends /healthz on to {to} ({status}); give the address that answers"
        );
    }
    ensure!(
        !status.is_server_error(),
        "probe {url}: a proxy answers there with {status}; no server of this workbench is behind it, or it cannot be reached"
    );
    if status == StatusCode::MISDIRECTED_REQUEST {
        let changed = if says.contains(path.host()) {
            ""
        } else {
            "; or have the proxy pass Host on as it came (nginx: proxy_set_header Host $http_host;)"
        };
        bail!("probe {url}: {status}: {says}{changed}");
    }
    let health: Option<Health> = serde_json::from_str(&answer.body).ok();
    let Some(Health { name, instance }) = health.filter(|_| status.is_success()) else {
        bail!(
            "probe {url}: what answers there (/healthz gives {status}) is not a server of this workbench; start one \
             behind your proxy with `cargo run --release -p server`"
        );
    };
    ensure!(
        instance.is_some(),
        "probe {url}: {} is older than this probe: /healthz names no instance",
        plain(&name)
    );
    found.answers = Some(Answers {
        version: format!("{:?}", answer.version),
        server: answer.header("server").map(|name| plain(name).into_owned()),
    });
    Ok(())
}

/// The tries in their order; each notes what it finds.
pub(super) async fn run(path: &Path, found: &mut Findings) {
    let mut kept = Kept::on(path);
    let (page, cursor) = publish(&mut kept).await;
    found.page = Some(page);
    if let Some(cursor) = &cursor {
        found.servers = Some(servers(path, cursor).await);
        found.headers = of_polls(&mut kept, cursor, found.different_servers()).await;
    }
    let (stream, headers) = stream(&mut kept).await;
    found.stream = Some(stream);
    found.headers.extend(headers);
    found.headers.extend(last_event_id(path).await);
    found.upgrade = Some(upgrade(path, found.page == Some(Page::Accepted)).await);
}

/// Publishes as a page does, or else as a program; and where the message stands.
async fn publish(kept: &mut Kept<'_>) -> (Page, Option<String>) {
    let origin = kept.path.origin();
    let cursor = |answer: &Answer| {
        let json: Value = serde_json::from_str(&answer.body).ok()?;
        json["cursor"].as_str().map(str::to_owned)
    };
    let as_page = kept.post("the first", &[(ORIGIN, &origin)]).await;
    if let Ok(answer) = &as_page
        && let Some(cursor) = cursor(answer)
    {
        return (Page::Accepted, Some(cursor));
    }
    let as_program = kept.post("the first", &[]).await;
    let cursor = as_program.as_ref().ok().and_then(cursor);
    let page = match (as_page, as_program) {
        (Ok(answer), Ok(_)) if cursor.is_some() => Page::Foreign {
            status: answer.status.as_u16(),
            says: answer.says(),
        },
        (_, Ok(answer)) => Page::Refused {
            says: format!("{} {}", answer.status, answer.says()),
        },
        (_, Err(end)) => Page::Refused {
            says: format!("no answer ({end})"),
        },
    };
    (page, cursor)
}

/// Asks over new connections who answers, and whether a cursor is known there.
async fn servers(path: &Path, cursor: &str) -> Servers {
    let (mut different, mut servers) = (
        BTreeSet::new(),
        Servers {
            asked: 0,
            different: 0,
            cursor_unknown: 0,
        },
    );
    let mut open = Vec::new();
    for _ in 0..ASKED {
        open.extend(path.http().await.ok());
    }
    // With the room in it: a balancer may go by that. And one question after the other over all of them: with two in a
    // row over each, every second one would go to the same of two servers that take turns.
    let health = path.at("healthz", "");
    for http in &mut open {
        if let Ok(answer) = http.get(&health).await
            && let Ok(Health {
                instance: Some(instance),
                ..
            }) = serde_json::from_str(&answer.body)
        {
            servers.asked += 1;
            different.insert(instance);
        }
    }
    let poll = path.at("short-poll", &format!("after={cursor}"));
    for http in &mut open {
        if let Ok(answer) = http.get(&poll).await {
            let json: Value = serde_json::from_str(&answer.body).unwrap_or_default();
            servers.cursor_unknown += u32::from(json["gap"]["reason"] == "epoch");
        }
    }
    servers.different = different.len();
    servers
}

/// Whether the headers of a poll arrive: those of its answer, and the one that saves one.
async fn of_polls(kept: &mut Kept<'_>, cursor: &str, servers: usize) -> Vec<Header> {
    let mut headers = Vec::new();
    let path = kept.path.at("short-poll", &format!("after={cursor}"));
    if let Ok(answer) = kept.answer(Method::GET, &path, &[], "").await {
        for (name, right) in [
            ("content-type", "application/json"),
            ("cache-control", "no-cache"),
            ("etag", ""),
        ] {
            headers.push(came(&answer, Transport::ShortPoll, name, right));
        }
    }
    // Of several servers, one that knows the cursor has to be met.
    let tries = if servers > 1 { TIMES } else { 1 };
    for nth in 1..=tries {
        let tag = format!("\"{cursor}\"");
        let answer = kept
            .answer(Method::GET, &path, &[(IF_NONE_MATCH, &tag)], "")
            .await;
        let has_passed = answer.is_ok_and(|answer| answer.status == StatusCode::NOT_MODIFIED);
        if has_passed || nth == tries {
            headers.push(Header {
                name: "if-none-match",
                of: Transport::ShortPoll,
                fate: if has_passed { Fate::Passed } else { Fate::Lost },
            });
            break;
        }
    }
    headers
}

/// What became of a header of an answer that has this in it.
fn came(answer: &Answer, of: Transport, name: &'static str, right: &str) -> Header {
    let fate = match answer.header(name) {
        None => Fate::Lost,
        Some(value) if value.contains(right) => Fate::Passed,
        Some(value) => Fate::Changed {
            to: plain(value).into_owned(),
        },
    };
    Header { name, of, fate }
}

/// What has come of a stream so far.
struct Seen {
    body: Incoming,
    text: String,
}

impl Seen {
    /// Reads until this has come; when it had.
    async fn until(&mut self, what: &str, deadline: Instant) -> Option<Instant> {
        while !self.text.contains(what) {
            let frame = timeout_at(deadline, self.body.frame()).await.ok()??.ok()?;
            let bytes = frame.into_data().unwrap_or_default();
            self.text.push_str(&String::from_utf8_lossy(&bytes));
        }
        Some(Instant::now())
    }
}

/// Opens an event stream: how promptly its hello comes, and a message that is published later.
async fn stream(kept: &mut Kept<'_>) -> (Stream, Vec<Header>) {
    let (mut found, asked) = (Stream::default(), Instant::now());
    let Ok(mut http) = kept.path.http().await else {
        return (found, Vec::new());
    };
    let path = kept.path.at("sse", "after=latest&alive=1");
    let accept = [(ACCEPT, "text/event-stream")];
    let ask = http.ask(Method::GET, &path, &accept, String::new());
    let Ok(Ok(response)) = timeout(PROMPT, ask).await else {
        return (found, Vec::new());
    };
    if response.status() != StatusCode::OK {
        found.status = Some(response.status().as_u16());
        return (found, Vec::new());
    }
    let (parts, body) = response.into_parts();
    let answer = Answer {
        status: parts.status,
        version: parts.version,
        headers: parts.headers,
        body: String::new(),
    };
    let headers = [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store"),
        ("x-accel-buffering", "no"),
    ]
    .map(|(name, right)| came(&answer, Transport::Sse, name, right));
    let mut seen = Seen {
        body,
        text: String::new(),
    };
    let first = seen.until("event: alive", asked + PROMPT).await;
    found.first_ms = first.map(|at| milliseconds(at - asked));
    found.heartbeat_s = heartbeat(&seen.text);
    if first.is_some() {
        found.message_ms = message(kept, &mut seen).await.map(milliseconds);
    }
    (found, headers.into())
}

/// The server's heartbeat: `event: alive`, `data: {"next":20000}`.
fn heartbeat(events: &str) -> Option<f64> {
    let (_, rest) = events.split_once("{\"next\":")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok().map(|ms: f64| ms / 1000.0)
}

/// Publishes until the stream brings one of the messages: how long that one took.
async fn message(kept: &mut Kept<'_>, seen: &mut Seen) -> Option<Duration> {
    let (mut sent, deadline) = (Vec::new(), Instant::now() + PROMPT);
    for nth in 0..TIMES {
        sent.push(Instant::now());
        if !kept.publish(&format!("prompt {nth}")).await {
            return None;
        }
        let wait = if nth + 1 == TIMES {
            deadline
        } else {
            Instant::now() + AGAIN
        };
        if let Some(at) = seen.until("prompt ", wait).await {
            let (_, rest) = seen.text.split_once("prompt ")?;
            let which: usize = rest.get(..1)?.parse().ok()?;
            return Some(at - *sent.get(which)?);
        }
    }
    None
}

/// Whether `Last-Event-ID` arrives: the server refuses one that is none, and names it.
async fn last_event_id(path: &Path) -> Option<Header> {
    let mut http = path.http().await.ok()?;
    let asked = async {
        let headers = [(LAST_EVENT_ID, "none")];
        let stream = path.at("sse", "after=latest");
        let response = http
            .ask(Method::GET, &stream, &headers, String::new())
            .await?;
        // A stream has no end: of what is not refused nothing is read.
        if response.status().is_success() {
            return Ok(Fate::Lost);
        }
        let answer = read(response).await?;
        let json: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        Ok::<_, End>(match json["error"]["parameter"].as_str() {
            Some("Last-Event-ID") => Fate::Passed,
            _ => Fate::Lost,
        })
    };
    let fate = timeout(PATIENCE, asked).await.ok()?.ok()?;
    Some(Header {
        name: "last-event-id",
        of: Transport::Sse,
        fate,
    })
}

/// Opens a WebSocket, as a page does if pages are let in.
async fn upgrade(path: &Path, is_page: bool) -> Upgrade {
    match path.ws("after=latest", is_page).await {
        Err(Refusal::Answered(answer)) => Upgrade::Answered {
            status: answer.status.as_u16(),
            says: answer.says(),
        },
        Err(Refusal::Ended(end)) => Upgrade::Ended {
            how: end.to_string(),
        },
        Ok(mut socket) => match timeout(PATIENCE, next(&mut socket)).await {
            Ok(Ok(Came::Text(_))) => Upgrade::Passed,
            Ok(Ok(_)) | Err(_) => Upgrade::Ended {
                how: "101, and then no message came".into(),
            },
            Ok(Err(end)) => Upgrade::Ended {
                how: format!("101, and then it was {end}"),
            },
        },
    }
}

/// Publishes this text several times from this moment on, so that each of several servers has it.
pub(super) async fn publish_at(path: &Path, when: Instant, text: &str) {
    tokio::time::sleep_until(when).await;
    let mut kept = Kept::on(path);
    for _ in 0..TIMES {
        kept.publish(text).await;
        sleep(AGAIN).await;
    }
}

/// Holds a poll for this long, where the server stands now; of several servers, at one that knows the cursor.
pub(super) async fn hold(path: &Path, wait: Duration) -> Result<(Answer, Duration), End> {
    let mut http = path.http().await?;
    let mut answer = http.get(&path.at("short-poll", "after=latest")).await?;
    let mut cursor = String::new();
    for nth in 0..TIMES {
        // Each cursor is asked for twice: of two servers that take turns, the second one that is asked knows it.
        if nth % 2 == 0 {
            let json: Value = serde_json::from_str(&answer.body).unwrap_or_default();
            let Some(known) = json["cursor"].as_str() else {
                return Ok((answer, Duration::ZERO));
            };
            known.clone_into(&mut cursor);
        }
        let poll = format!("after={cursor}&wait={}ms", wait.as_millis());
        let (poll, asked) = (path.at("long-poll", &poll), Instant::now());
        let held = async { read(http.ask(Method::GET, &poll, &[], String::new()).await?).await };
        answer = match timeout(wait + PATIENCE, held).await {
            Ok(answer) => answer?,
            Err(_) => Err(End::Silent)?,
        };
        // What is answered at once was not held: another server, or something that came in between.
        if !answer.status.is_success() || asked.elapsed() > wait / 2 {
            return Ok((answer, asked.elapsed()));
        }
    }
    Ok((answer, Duration::ZERO))
}

/// What ends a stream's body.
pub(super) async fn piece(body: &mut Incoming) -> Result<bytes::Bytes, End> {
    match body.frame().await {
        None => Err(End::Fin),
        Some(Ok(frame)) => Ok(frame.into_data().unwrap_or_default()),
        Some(Err(error)) => Err(end(&error)),
    }
}
