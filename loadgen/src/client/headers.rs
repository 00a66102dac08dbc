//! What a simulated client's requests carry, as a browser's do or as few as there can be.

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::result::variant::Headers;

/// What Chromium 156 sends with every request of a page's script, beside what each kind of request adds.
///
/// Less what loadgen cannot do: a browser offers `gzip, deflate, br, zstd` here, and `permessage-deflate;
/// client_max_window_bits` in a WebSocket handshake. An offer that is taken would be one that loadgen cannot read.
const BROWSER: &[(&str, &str)] = &[
    ("pragma", "no-cache"),
    ("cache-control", "no-cache"),
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
    ),
    ("accept-encoding", "identity"),
    ("accept-language", "en-US,en;q=0.9"),
];
/// What it adds to a `fetch` of the page's own server.
const BROWSER_FETCH: &[(&str, &str)] = &[
    ("connection", "keep-alive"),
    ("sec-ch-ua-platform", "\"Linux\""),
    (
        "sec-ch-ua",
        "\"Not:A-Brand\";v=\"8\", \"Chromium\";v=\"156\"",
    ),
    ("sec-ch-ua-mobile", "?0"),
    ("accept", "*/*"),
    ("sec-fetch-site", "same-origin"),
    ("sec-fetch-mode", "cors"),
    ("sec-fetch-dest", "empty"),
];
/// A session cookie of usual length.
const COOKIE_BYTES: usize = 200;

impl Headers {
    /// The headers of a `fetch` from a page of this host.
    pub(super) fn fetch(self, host: &str, page: &str) -> HeaderMap {
        let mut headers = self.common(host);
        if self == Self::Browser {
            insert(&mut headers, BROWSER_FETCH);
            set(
                &mut headers,
                header::REFERER,
                &format!("http://{host}/{page}"),
            );
        }
        headers
    }

    /// The headers of a WebSocket handshake from a page of this host, beside those the protocol itself needs.
    pub(super) fn handshake(self, host: &str) -> HeaderMap {
        let mut headers = self.common(host);
        if self == Self::Browser {
            set(&mut headers, header::ORIGIN, &format!("http://{host}"));
        }
        headers
    }

    /// Bytes of these headers in each request of a poll, or in the handshake of a socket.
    pub fn bytes(self, host: &str, is_socket: bool) -> usize {
        let headers = if is_socket {
            self.handshake(host)
        } else {
            self.fetch(host, "short-poll.html")
        };
        headers.iter().map(|(name, value)| line(name, value)).sum()
    }

    fn common(self, host: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        set(&mut headers, header::HOST, host);
        if self == Self::Browser {
            insert(&mut headers, BROWSER);
            set(
                &mut headers,
                header::COOKIE,
                &format!("session={}", "c".repeat(COOKIE_BYTES - "session=".len())),
            );
        }
        headers
    }
}

/// What a header takes on the wire, with its colon, space and end.
fn line(name: &HeaderName, value: &HeaderValue) -> usize {
    name.as_str().len() + value.len() + 4
}

fn insert(headers: &mut HeaderMap, fixed: &'static [(&str, &str)]) {
    headers.extend(fixed.iter().map(|&(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    }));
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    headers.insert(
        name,
        HeaderValue::try_from(value).expect("an address is a valid header value"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_offered_that_loadgen_cannot_read() {
        for headers in [Headers::Browser, Headers::Minimal] {
            for sent in [headers.fetch("host", "sse.html"), headers.handshake("host")] {
                assert_eq!(sent.get(header::SEC_WEBSOCKET_EXTENSIONS), None);
                let codings = sent.get(header::ACCEPT_ENCODING).map(HeaderValue::as_bytes);
                assert_eq!(
                    codings,
                    (headers == Headers::Browser).then_some(&b"identity"[..])
                );
                assert_eq!(sent.get(header::UPGRADE), None, "no h2c either");
            }
        }
    }
}
