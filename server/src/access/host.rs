//! Which host a request is for, and whether this server is that host.
//!
//! A page of another site can have its own name resolved to this server's address (DNS rebinding), and is then "its own
//! page" for the browser. Only the host in the request gives it away: so only hosts on a list are served.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The port of `http://` that does not name one.
const HTTP: u16 = 80;

/// `host` or `host:port` (RFC 9110 section 7.2). Equal if they mean the same: case, a trailing dot and the default port
/// do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Authority<'a> {
    pub(crate) host: Host<'a>,
    pub(crate) port: u16,
}

/// A host, as far as this server can be one: no user, no zone, nothing that is escaped.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Host<'a> {
    Ip(IpAddr),
    /// Without a trailing dot.
    Name(&'a str),
}

impl<'a> Authority<'a> {
    /// `None` for anything that a browser would not send.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = split(text);
        Some(Self {
            host: Host::parse(host)?,
            port: port.map_or(Some(HTTP), parse_port)?,
        })
    }
}

/// A host, and the digits of its port.
pub(crate) fn split(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        // The colons of an IPv6 address stand in brackets.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    }
}

fn parse_port(digits: &str) -> Option<u16> {
    let number = digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| digits.parse());
    number?.ok()
}

impl<'a> Host<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix('[') {
            let address: Ipv6Addr = rest.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Ip(address.into()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if let Ok(address) = name.parse::<Ipv4Addr>() {
            return Some(Self::Ip(address.into()));
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_label = |label: &str| !label.is_empty() && label.bytes().all(plain);
        name.split('.').all(is_label).then_some(Self::Name(name))
    }
}

impl PartialEq for Host<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ip(one), Self::Ip(other)) => one == other,
            (Self::Name(one), Self::Name(other)) => one.eq_ignore_ascii_case(other),
            _ => false,
        }
    }
}

impl Eq for Host<'_> {}

/// The hosts that a server answers for.
#[derive(Debug)]
pub(crate) struct Hosts {
    /// Where it listens.
    address: IpAddr,
    /// As [`parse`] writes them.
    named: Vec<String>,
}

impl Hosts {
    pub(crate) fn new(address: IpAddr, named: impl IntoIterator<Item = String>) -> Self {
        Self {
            address,
            named: named.into_iter().collect(),
        }
    }

    pub(crate) fn serves(&self, host: Host<'_>) -> bool {
        let listed = match host {
            // No name is resolved for an address: it is the server's own if the server listens there.
            Host::Ip(ip) if self.address.is_unspecified() => !ip.to_canonical().is_unspecified(),
            Host::Ip(ip) => ip.is_loopback() || (ip == self.address),
            Host::Name(name) => is_localhost(name),
        };
        listed
            || self
                .named
                .iter()
                .any(|named| Host::parse(named) == Some(host))
    }
}

/// `localhost` and `*.localhost`, which browsers resolve themselves, always to this machine (RFC 6761 section 6.3).
fn is_localhost(name: &str) -> bool {
    let start = name.len().saturating_sub("localhost".len());
    let end = name
        .as_bytes()
        .get(start..)
        .is_some_and(|end| end.eq_ignore_ascii_case(b"localhost"));
    end && (start == 0 || name.as_bytes()[start - 1] == b'.')
}

/// The value of `--allow-host`, in the spelling of a `Host` header.
pub(crate) fn parse(text: &str) -> Result<String, String> {
    let right = "must be one host name or IP address without scheme, port or wildcard, such as chat.example";
    let host = match text.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        // Lower case, and in ASCII as browsers send it.
        Err(_) => url::Host::parse(text).map_err(|_| right)?.to_string(),
    };
    Host::parse(&host).ok_or(right)?;
    Ok(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serves(address: &str, named: &[&str], host: &str) -> Option<bool> {
        let named = named.iter().map(|name| parse(name).expect("a host"));
        let hosts = Hosts::new(address.parse().expect("an address"), named);
        Authority::parse(host).map(|authority| hosts.serves(authority.host))
    }

    #[test]
    fn on_loopback_only_this_machine_is_served() {
        for host in [
            "localhost",
            "LocalHost.:3000",
            "chat.localhost:3000",
            "a.b.localhost",
            "127.0.0.1:3000",
            "127.255.0.7",
            "127.0.0.1.:80",
            "[::1]:3000",
            "[0:0:0:0:0:0:0:1]",
        ] {
            assert_eq!(serves("127.0.0.1", &[], host), Some(true), "{host}");
        }
        for host in [
            "evil.example:3000",
            "localhost.evil.example",
            "evillocalhost",
            "127.0.0.1.evil.example",
            "0.0.0.0:3000",
            "[::]:3000",
            "[::ffff:0.0.0.0]",
            "192.168.1.5",
            "[2001:db8::1]",
            "127.1",
            "2130706433",
            "0x7f000001",
        ] {
            assert_eq!(serves("127.0.0.1", &[], host), Some(false), "{host}");
        }
    }

    #[test]
    fn a_named_host_and_the_address_that_it_listens_on_are_served_too() {
        for (address, named, host, right) in [
            ("192.168.1.5", &[][..], "192.168.1.5:3000", true),
            ("192.168.1.5", &[], "192.168.1.6:3000", false),
            ("192.168.1.5", &[], "localhost", true),
            ("2001:db8::1", &[], "[2001:db8:0::1]:80", true),
            ("0.0.0.0", &[], "192.168.1.6:3000", true),
            ("::", &[], "[2001:db8::1]", true),
            ("0.0.0.0", &[], "0.0.0.0:3000", false),
            ("::", &[], "[::]", false),
            ("::", &[], "[::ffff:0.0.0.0]", false),
            ("0.0.0.0", &[], "box.lan", false),
            ("127.0.0.1", &["Chat.Example."], "chat.example:8080", true),
            ("127.0.0.1", &["chat.example"], "CHAT.example.", true),
            ("127.0.0.1", &["chat.example"], "sub.chat.example", false),
            (
                "127.0.0.1",
                &["bücher.example"],
                "xn--bcher-kva.example",
                true,
            ),
            (
                "127.0.0.1",
                &["192.168.1.5", "2001:db8::1"],
                "[2001:db8::1]:1",
                true,
            ),
        ] {
            assert_eq!(
                serves(address, named, host),
                Some(right),
                "{host} at {address} with {named:?}"
            );
        }
    }

    #[test]
    fn what_no_browser_sends_as_a_host_is_none() {
        for host in [
            "",
            ":80",
            ".",
            "a..b",
            ".localhost",
            "localhost:",
            "localhost:+80",
            "localhost:65536",
            "localhost:80:80",
            "user@localhost",
            "localhost/x",
            "localhost?x",
            "localhost#x",
            "local\\host",
            "local host",
            "local%68ost",
            "::1",
            "[::1",
            "[::1%eth0]",
            "[::1%25lo]:80",
            "[127.0.0.1]",
            "löcalhost",
            "localhost,evil",
        ] {
            assert_eq!(Authority::parse(host), None, "{host:?}");
        }
    }

    #[test]
    fn the_flag_takes_one_host_and_nothing_around_it() {
        for text in [
            "",
            "*",
            "*.example",
            "chat.example:3000",
            "http://chat.example",
            "chat.example/",
            "a b",
            "a,b",
        ] {
            assert!(
                parse(text).is_err_and(|error| error.contains("chat.example")),
                "{text:?}"
            );
        }
    }
}
