//! Connections that are left open, all at once: silent ones, and some on which the server gives a sign of life now and
//! then. When and how each ends.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper::header::ACCEPT;
use hyper::{Method, StatusCode};
use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};

use super::connection::{Answer, Came, PATIENCE, Path, Refusal, next, read};
use super::findings::{End, Findings, Page, Upgrade, Wait, seconds};
use super::kept::{TIMES, publish_at};
use super::streams::piece;
use crate::result::variant::Transport;

/// A message that is published when all that was to be tried has been: what is open then, brings it.
const LAST: &str = "still there";
/// A server gives a sign of life at least this often, if it is asked for no other: as good as none.
const SILENCE: Duration = Duration::from_secs(600);
/// The longest that a poll may ask to be held for.
pub(super) const LONGEST_HOLD: Duration = Duration::from_secs(60);

/// What is waited for.
#[derive(Debug, Clone, Copy)]
struct Rung {
    transport: Transport,
    heartbeat: Option<Duration>,
}

/// Which connections: a held poll, and of each stream a silent one and one for each heartbeat that is shorter than the wait.
fn rungs(found: &Findings, up_to: Duration, heartbeats: &[Duration]) -> Vec<Rung> {
    let heartbeats = heartbeats.iter().filter(|&&heartbeat| heartbeat < up_to);
    let each = std::iter::once(None).chain(heartbeats.copied().map(Some));
    let is_open = |transport: &Transport| match transport {
        Transport::Ws => found.upgrade == Some(Upgrade::Passed),
        _ => found
            .stream
            .as_ref()
            .is_some_and(|stream| stream.status.is_none()),
    };
    let streams = [Transport::Sse, Transport::Ws].into_iter().filter(is_open);
    let streams = streams.flat_map(|transport| {
        each.clone().map(move |heartbeat| Rung {
            transport,
            heartbeat,
        })
    });
    let poll = Rung {
        transport: Transport::LongPoll,
        heartbeat: None,
    };
    std::iter::once(poll).chain(streams).collect()
}

/// Waits for all of them; what has ended is noted as it ends.
pub(super) async fn run(
    path: &Path,
    up_to: Duration,
    heartbeats: &[Duration],
    found: &mut Findings,
) {
    let rungs = rungs(found, up_to, heartbeats);
    found.waits = rungs.iter().map(|rung| rung.wait(End::StillOpen)).collect();
    let (is_page, began) = (found.page == Some(Page::Accepted), Instant::now());
    let limits = Limits {
        up_to,
        end: began + up_to + PATIENCE,
    };
    let mut open: FuturesUnordered<_> = rungs
        .iter()
        .enumerate()
        .map(|(i, rung)| async move { (i, rung.run(path, is_page, limits).await) })
        .collect();
    let publish = publish_at(path, began + up_to, LAST);
    tokio::pin!(publish);
    let mut is_published = false;
    loop {
        tokio::select! {
            ended = open.next() => match ended {
                Some((i, wait)) => found.waits[i] = wait,
                None => return,
            },
            () = &mut publish, if !is_published => is_published = true,
        }
    }
}

/// Holds a poll for this long, where the server stands now; of several servers, at one that knows the cursor.
async fn hold_poll(path: &Path, wait: Duration) -> Result<(Answer, Duration), End> {
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
            Err(_) => return Err(End::Silent),
        };
        // What is answered at once was not held: another server, or something that came in between.
        if !answer.status.is_success() || asked.elapsed() > wait / 2 {
            return Ok((answer, asked.elapsed()));
        }
    }
    Ok((answer, Duration::ZERO))
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    up_to: Duration,
    /// What has not brought the last message by then, brings nothing any more.
    end: Instant,
}

/// What came over a connection.
struct Open {
    since: Instant,
    last: Instant,
    beats: u32,
}

impl Open {
    fn now() -> Self {
        let now = Instant::now();
        Self {
            since: now,
            last: now,
            beats: 0,
        }
    }
}

impl Rung {
    fn wait(self, end: End) -> Wait {
        Wait {
            transport: self.transport,
            heartbeat_s: self.heartbeat.map(seconds),
            end,
            open_s: 0.0,
            silent_s: 0.0,
            beats: 0,
        }
    }

    async fn run(self, path: &Path, is_page: bool, limits: Limits) -> Wait {
        let mut open = Open::now();
        let end = match self.transport {
            Transport::LongPoll => return self.hold(path, limits).await,
            Transport::Ws => self.socket(path, is_page, limits, &mut open).await,
            _ => self.stream(path, limits, &mut open).await,
        };
        let now = Instant::now();
        Wait {
            open_s: seconds(now - open.since),
            silent_s: seconds(now - open.last),
            beats: open.beats,
            ..self.wait(end)
        }
    }

    fn query(self) -> String {
        let heartbeat = self.heartbeat.unwrap_or(SILENCE).as_millis();
        format!("after=latest&heartbeat={heartbeat}ms")
    }

    async fn socket(self, path: &Path, is_page: bool, limits: Limits, open: &mut Open) -> End {
        let mut socket = match path.ws(&self.query(), is_page).await {
            Ok(socket) => socket,
            Err(Refusal::Answered(answer)) => {
                let why = format!("refused with {}", answer.status);
                return End::NotOpened { why };
            }
            Err(Refusal::Ended(end)) => return not_opened(end),
        };
        *open = Open::now();
        loop {
            match timeout_at(limits.end, next(&mut socket)).await {
                Ok(Ok(Came::Text(text))) if text.contains(LAST) => return End::Lived,
                Ok(Ok(came)) => {
                    open.last = Instant::now();
                    open.beats += u32::from(matches!(came, Came::Ping));
                }
                Ok(Err(end)) => return end,
                Err(_) => return End::Silent,
            }
        }
    }

    async fn stream(self, path: &Path, limits: Limits, open: &mut Open) -> End {
        let mut http = match path.http().await {
            Ok(http) => http,
            Err(end) => return not_opened(end),
        };
        let (path, accept) = (
            path.at("sse", &self.query()),
            [(ACCEPT, "text/event-stream")],
        );
        let ask = http.ask(Method::GET, &path, &accept, String::new());
        // A path that buffers may hold the head back, too, and is cut while it does.
        let response = match timeout_at(limits.end, ask).await {
            Ok(Ok(response)) => response,
            Ok(Err(end)) => return end,
            Err(_) => return End::Silent,
        };
        if response.status() != StatusCode::OK {
            let status = response.status().as_u16();
            return End::Status { status };
        }
        *open = Open::now();
        let mut body = response.into_body();
        loop {
            match timeout_at(limits.end, piece(&mut body)).await {
                Ok(Ok(bytes)) => {
                    let text = String::from_utf8_lossy(&bytes);
                    if text.contains(LAST) {
                        return End::Lived;
                    }
                    open.last = Instant::now();
                    open.beats += u32::from(text.starts_with(':'));
                }
                Ok(Err(end)) => return end,
                Err(_) => return End::Silent,
            }
        }
    }

    async fn hold(self, path: &Path, limits: Limits) -> Wait {
        let (wait, began) = (limits.up_to.min(LONGEST_HOLD), Instant::now());
        let held = timeout(wait + 2 * PATIENCE, hold_poll(path, wait)).await;
        let (end, held) = match held.unwrap_or(Err(End::Silent)) {
            Ok((answer, held)) if answer.status == StatusCode::OK => {
                let end = if held.is_zero() {
                    let why = "it was answered at once each time".into();
                    End::NotOpened { why }
                } else {
                    End::Lived
                };
                (end, held)
            }
            Ok((answer, held)) => {
                let status = answer.status.as_u16();
                (End::Status { status }, held)
            }
            Err(end) => (end, began.elapsed()),
        };
        Wait {
            open_s: seconds(held),
            silent_s: seconds(held),
            ..self.wait(end)
        }
    }
}

fn not_opened(end: End) -> End {
    match end {
        End::NotOpened { .. } => end,
        other => End::NotOpened {
            why: other.to_string(),
        },
    }
}
