//! The short tries: who answers, what becomes of an upgrade, of headers, of a message.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};
use hyper::header::{IF_NONE_MATCH, LOCATION, ORIGIN};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;

use super::connection::{Answer, Came, PATIENCE, Path, Refusal, next};
use super::findings::{Answers, End, Fate, Findings, Header, Page, Servers, Upgrade};
use super::kept::{Kept, TIMES};
use super::streams::{last_event_id, stream};
use crate::foreign::plain;
use crate::result::variant::Transport;

/// New connections that are asked who answers: with two servers by chance, all meet the same once in 32 times.
const ASKED: u32 = 6;

/// Who answers, as `/healthz` has it.
#[derive(Deserialize)]
struct Health {
    name: String,
    instance: Option<String>,
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
            headers.push(Header {
                name,
                of: Transport::ShortPoll,
                fate: answer.fate(name, right),
            });
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
