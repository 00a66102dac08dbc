//! Origins of pages: what `--allow-origin` takes, and which is the server's own.

use hyper::header::HeaderValue;
use url::Url;

use super::host::Authority;

/// The value of `--allow-origin`: compared byte by byte, so it must be what a browser sends (HTML standard,
/// "serialization of an origin").
pub(crate) fn parse(text: &str) -> Result<HeaderValue, String> {
    let example = "must be scheme://host or scheme://host:port, such as https://chat.example";
    if text == "null" {
        return Err("null is sent by every sandboxed page, whoever wrote it: give the page an origin of its own".into());
    }
    if text.contains('*') {
        return Err(
            "an origin is compared as a whole, without wildcards: repeat the flag for each".into(),
        );
    }
    let url = Url::parse(text)
        .ok()
        .filter(|_| text.contains("://"))
        .ok_or(example)?;
    let host = url.host_str().unwrap_or_default();
    let right = match url.scheme() {
        "http" | "https" => url.origin().ascii_serialization(),
        "ws" => url.origin().ascii_serialization().replacen("ws", "http", 1),
        "wss" => url
            .origin()
            .ascii_serialization()
            .replacen("wss", "https", 1),
        // A page that was opened from disk: it names no host.
        "file" => "file://".into(),
        _ if host.is_empty() => return Err(example.into()),
        scheme => url.port().map_or_else(
            || format!("{scheme}://{host}"),
            |port| format!("{scheme}://{host}:{port}"),
        ),
    };
    if text != right {
        return Err(format!("must be {right}, which is what browsers send"));
    }
    text.parse().map_err(|_| example.into())
}

/// The host of a named origin: where its pages come from this server, behind a proxy, requests name it.
pub(crate) fn host(origin: &HeaderValue) -> Option<String> {
    let url = Url::parse(origin.to_str().ok()?).ok()?;
    let host = url
        .host_str()
        .filter(|_| matches!(url.scheme(), "http" | "https"));
    host.map(str::to_owned)
}

/// Whether this is the origin of the server's own pages, which are served without TLS: behind a proxy that adds it,
/// name the origin.
pub(crate) fn is_own(origin: &HeaderValue, own: Option<Authority<'_>>) -> bool {
    let authority = origin
        .to_str()
        .ok()
        .and_then(|origin| Authority::parse(origin.strip_prefix("http://")?));
    authority.is_some() && authority == own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_browsers_send_is_taken() {
        for text in [
            "https://chat.example",
            "http://chat.example:8080",
            "http://localhost",
            "https://x:80",
            "http://127.0.0.1:3000",
            "http://[::1]:3000",
            "https://xn--bcher-kva.example",
            "capacitor://localhost",
            "ionic://localhost",
            "tauri://localhost",
            "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
            "moz-extension://0a1b2c3d-0a1b-4c2d-8e3f-0a1b2c3d4e5f",
            "app://.",
            "app://obsidian.md",
            "file://",
        ] {
            assert_eq!(
                parse(text),
                Ok(HeaderValue::from_str(text).expect("ASCII")),
                "{text}"
            );
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_would_be_right() {
        for (text, right) in [
            ("https://x:443", "must be https://x,"),
            ("http://x:80", "must be http://x,"),
            ("https://Chat.Example", "must be https://chat.example,"),
            ("HTTPS://chat.example", "must be https://chat.example,"),
            ("https://chat.example/", "must be https://chat.example,"),
            (
                "https://chat.example/page?x#y",
                "must be https://chat.example,",
            ),
            ("https://ann@chat.example", "must be https://chat.example,"),
            (
                "https://bücher.example",
                "must be https://xn--bcher-kva.example,",
            ),
            ("http://[0:0:0:0:0:0:0:1]", "must be http://[::1],"),
            ("http://127.1:3000", "must be http://127.0.0.1:3000,"),
            ("wss://chat.example", "must be https://chat.example,"),
            (
                "ws://chat.example:8080",
                "must be http://chat.example:8080,",
            ),
            ("capacitor://localhost/", "must be capacitor://localhost,"),
            ("file:///home/ann/page.html", "must be file://,"),
            ("null", "every sandboxed page"),
            ("*", "without wildcards"),
            ("https://*.chat.example", "without wildcards"),
            ("", "scheme://host"),
            ("chat.example", "scheme://host"),
            ("localhost:3000", "scheme://host"),
            ("https://", "scheme://host"),
            ("capacitor://", "scheme://host"),
            ("https://a b", "scheme://host"),
            ("https://x:99999", "scheme://host"),
        ] {
            let refused = parse(text).expect_err(text);
            assert!(refused.contains(right), "{text}: {refused}");
        }
    }

    #[test]
    fn the_own_origin_is_the_host_with_its_port_and_no_tls() {
        for (origin, host, own) in [
            ("http://localhost", "localhost:80", true),
            ("http://localhost:80", "localhost", true),
            ("http://localhost:3000", "LOCALHOST.:3000", true),
            ("http://[::1]:3000", "[0::1]:3000", true),
            ("http://localhost", "localhost:3000", false),
            ("http://localhost:3000", "127.0.0.1:3000", false),
            ("https://localhost:3000", "localhost:3000", false),
            ("http://", "", false),
            ("http://localhost:3000/", "localhost:3000", false),
            ("null", "localhost:3000", false),
            ("", "localhost", false),
        ] {
            let origin = HeaderValue::from_static(origin);
            assert_eq!(
                is_own(&origin, Authority::parse(host)),
                own,
                "{origin:?} at {host}"
            );
        }
        assert!(!is_own(&HeaderValue::from_static("http://"), None));
    }
}
