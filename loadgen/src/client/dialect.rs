//! How a kind of server is spoken to: where a client subscribes and publishes, and what a draft looks like.
//!
//! There is one dialect so far, the workbench's own (`docs/protocol.md`); other servers may speak it at other paths.

use std::time::Duration;

use hyper::Uri;
use hyper::header::HeaderMap;

use super::Failure;
use super::protocol::After;

/// Where to subscribe. What a template has in braces is filled in; a parameter of its query without a value is left out.
pub const SUBSCRIBE: &str = "/{transport}?room={room}&after={after}&wait={wait}&limit={limit}";
/// Where to publish.
pub const PUBLISH: &str = "/messages?room={room}";

/// How a kind of server is spoken to.
#[derive(Debug, Clone)]
pub struct Dialect {
    /// The template of the path of a subscription or a poll.
    pub subscribe: String,
    /// The template of the path of a publish.
    pub publish: String,
    /// What every request carries besides.
    pub headers: HeaderMap,
    /// Whether the server is somebody else's, which may do without positions, and without keys.
    pub is_foreign: bool,
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            subscribe: SUBSCRIBE.into(),
            publish: PUBLISH.into(),
            headers: HeaderMap::new(),
            is_foreign: false,
        }
    }
}

impl Dialect {
    /// Where to read from a place in a room; `wait` is how long a long poll waits, `limit` how many messages a poll wants at
    /// most.
    pub(super) fn subscribe(
        &self,
        transport: &str,
        room: &str,
        after: &After,
        wait: Option<Duration>,
        limit: Option<u32>,
    ) -> Result<Uri, Failure> {
        let after = after.text().unwrap_or_default();
        let wait = wait.map_or(String::new(), |wait| format!("{}ms", wait.as_millis()));
        let limit = limit.map_or(String::new(), |limit| limit.to_string());
        uri(&fill(
            &self.subscribe,
            &[
                ("transport", transport),
                ("room", room),
                ("after", &after),
                ("wait", &wait),
                ("limit", &limit),
            ],
        ))
    }

    /// Where to publish into a room.
    pub(super) fn publish(&self, room: &str) -> Result<Uri, Failure> {
        uri(&fill(&self.publish, &[("room", room)]))
    }
}

/// A message to be published.
#[derive(Debug, Clone)]
pub struct Draft {
    /// ASCII without anything that JSON escapes.
    pub text: String,
    /// By which the same message is known if it comes again.
    pub key: String,
}

impl Draft {
    pub(super) fn json(&self) -> String {
        let Self { text, key } = self;
        format!(r#"{{"from":"loadgen","text":"{text}","key":"{key}"}}"#)
    }
}

/// Checks the template of a subscription.
pub fn check_subscribe(template: &str) -> Result<String, String> {
    check(template, &["transport", "room", "after", "wait", "limit"])
}

/// Checks the template of a publish.
pub fn check_publish(template: &str) -> Result<String, String> {
    check(template, &["room"])
}

/// A template is a path, and has nothing in braces that nobody fills in.
fn check(template: &str, names: &[&str]) -> Result<String, String> {
    if !template.starts_with('/') {
        return Err("a path begins with a slash".into());
    }
    for part in template.split('{').skip(1) {
        let name = part.split_once('}').map(|(name, _)| name);
        if !name.is_some_and(|name| names.contains(&name)) {
            let known: Vec<String> = names.iter().map(|name| format!("{{{name}}}")).collect();
            let known = known.join(", ");
            return Err(format!("{{{part} is unknown; this path may have {known}"));
        }
    }
    let filled: Vec<(&str, &str)> = names.iter().map(|name| (*name, "x")).collect();
    uri(&fill(template, &filled)).map_err(|error| error.to_string())?;
    Ok(template.into())
}

/// A template with its names filled in; a parameter whose value is empty is left out.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let Some((path, query)) = template.split_once('?') else {
        return fill_part(String::new(), template, values);
    };
    let mut filled = fill_part(String::new(), path, values);
    let mut separator = '?';
    for pair in query.split('&') {
        let before = filled.len();
        filled.push(separator);
        filled = fill_part(filled, pair, values);
        if pair.contains('{') && filled.ends_with('=') {
            filled.truncate(before);
        } else {
            separator = '&';
        }
    }
    filled
}

/// Appends a part of a template that has no parameters to leave out.
fn fill_part(mut filled: String, part: &str, values: &[(&str, &str)]) -> String {
    let mut pieces = part.split('{');
    filled += pieces.next().unwrap_or_default();
    for piece in pieces {
        let (name, rest) = piece.split_once('}').unwrap_or((piece, ""));
        let value = values.iter().find(|(known, _)| *known == name);
        filled += value.map_or("", |(_, value)| value);
        filled += rest;
    }
    filled
}

/// A path as it is asked for.
pub(super) fn uri(path: &str) -> Result<Uri, Failure> {
    Uri::try_from(path).map_err(|error| Failure::Protocol(format!("{path:?} is no path: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Cursor;

    #[test]
    fn what_has_no_value_is_left_out() {
        let dialect = Dialect::default();
        let path = |after, wait| {
            dialect
                .subscribe("long-poll", "a", &after, wait, None)
                .unwrap()
                .to_string()
        };
        assert_eq!(path(After::Oldest, None), "/long-poll?room=a");
        assert_eq!(path(After::Latest, None), "/long-poll?room=a&after=latest");
        let cursor = After::Cursor(Cursor {
            epoch: "abcdefgh".into(),
            seq: 7,
        });
        assert_eq!(
            path(cursor, Some(Duration::from_secs(2))),
            "/long-poll?room=a&after=abcdefgh-7&wait=2000ms"
        );
        let piece = dialect.subscribe("short-poll", "a", &After::Oldest, None, Some(4));
        assert_eq!(piece.unwrap(), "/short-poll?room=a&limit=4");
        assert_eq!(dialect.publish("a").unwrap(), "/messages?room=a");
        let own = Dialect {
            subscribe: "/rooms/{room}/{transport}?v=&from={after}".into(),
            ..Dialect::default()
        };
        assert_eq!(
            own.subscribe("sse", "a", &After::Oldest, None, None)
                .unwrap(),
            "/rooms/a/sse?v="
        );
        let bare = Dialect {
            subscribe: "/stream?from={after}".into(),
            ..Dialect::default()
        };
        assert_eq!(
            bare.subscribe("sse", "a", &After::Oldest, None, None)
                .unwrap(),
            "/stream"
        );
    }

    #[test]
    fn a_template_says_what_it_may_have() {
        assert!(check_subscribe("/rooms/{room}/stream?after={after}").is_ok());
        assert!(check_subscribe("rooms").unwrap_err().contains("slash"));
        assert!(check_publish("/a b").unwrap_err().contains("no path"));
        assert!(check_publish("/{room}").is_ok() && check_publish("/{after}").is_err());
        for wrong in ["/{rom}", "/{room", "/x?y={}"] {
            let error = check_subscribe(wrong).unwrap_err();
            assert!(error.contains("{room}"), "{wrong}: {error}");
        }
    }
}
