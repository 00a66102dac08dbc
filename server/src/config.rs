//! The server's flags and their defaults, each with its unit.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use clap::Args;
use hyper::header::HeaderValue;

use crate::log::Window;

/// Descriptors that are not for connections, if there are so many: the listener, the runtime, clients being refused.
const RESERVED_DESCRIPTORS: u64 = 512;

/// How the server is set up.
#[derive(Args, Debug, Clone)]
pub struct Config {
    /// Address to listen on, or a name of one such as localhost.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", value_parser = host)]
    pub(crate) host: Host,
    /// Port to listen on; 0 takes a free one.
    #[arg(short, long, default_value_t = 3000)]
    pub(crate) port: u16,
    /// Origin (`scheme://host:port`) of pages that may use the server beside its own; may be repeated.
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    pub(crate) allow_origin: Vec<HeaderValue>,
    /// Most rooms at once; beyond it a rested room goes, or 429.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = at_least_one, allow_hyphen_values = true)]
    pub(crate) max_rooms: usize,
    /// Most connections at once, beyond it 503 [default: the descriptor limit minus 512, at least half of it].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), allow_hyphen_values = true)]
    pub(crate) max_connections: Option<u64>,
    /// Messages a room retains.
    #[arg(long, value_name = "N", default_value_t = 8192, value_parser = at_least_one, allow_hyphen_values = true)]
    pub(crate) window_messages: usize,
    /// Bytes of messages a room retains.
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = bytes, allow_hyphen_values = true)]
    pub(crate) window_bytes: usize,
    /// A peer that takes nothing for so long is cut.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = positive, allow_hyphen_values = true)]
    pub(crate) write_deadline: Duration,
    /// A connection that sends no (whole) request for so long is closed.
    #[arg(long, value_name = "TIME", default_value = "75s", value_parser = positive, allow_hyphen_values = true)]
    pub(crate) idle_deadline: Duration,
    /// Open streams get a sign of life so often.
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = positive, allow_hyphen_values = true)]
    pub(crate) heartbeat: Duration,
    /// Offer `/ws-stock` too: an ordinary WebSocket with a broadcast channel, to compare `/ws` with.
    #[arg(long)]
    pub(crate) stock: bool,
    /// What goes wrong on purpose.
    #[cfg(feature = "faults")]
    #[command(flatten)]
    pub(crate) faults: crate::faults::Faults,
}

impl Config {
    pub(crate) fn addr(&self) -> SocketAddr {
        SocketAddr::new(self.host.addr, self.port)
    }

    pub(crate) fn window(&self) -> Window {
        Window { messages: self.window_messages, bytes: self.window_bytes }
    }

    /// The connection cap, from the descriptor limit unless it was given.
    pub(crate) fn connections(&self, descriptors: u64) -> u64 {
        self.max_connections.unwrap_or_else(|| descriptors - RESERVED_DESCRIPTORS.min(descriptors / 2))
    }
}

/// Where to listen: as it was given, and what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    /// A literal without brackets, or a name.
    pub(crate) given: String,
    pub(crate) addr: IpAddr,
}

/// An address, with or without the brackets that it has in a URL, or a name that the system resolves.
fn host(text: &str) -> Result<Host, String> {
    let literal = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(addr) = literal.parse() {
        return Ok(Host { given: literal.into(), addr });
    }
    let right = "must be an address such as 127.0.0.1 or ::1, or a name such as localhost";
    let name = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    if text.is_empty() || !text.bytes().all(name) {
        return Err(right.into());
    }
    let resolved = (text, 0).to_socket_addrs().map_err(|error| format!("{right}; this one is unknown: {error}"))?;
    let addrs: Vec<IpAddr> = resolved.map(|addr| addr.ip()).collect();
    // One of them: clients try both families, and the older one is everywhere.
    let addr = addrs.iter().find(|addr| addr.is_ipv4()).or(addrs.first());
    addr.map(|&addr| Host { given: text.into(), addr }).ok_or_else(|| format!("{right}; this one has no address"))
}

/// Where a client of this machine reaches what listens there: a wildcard is no address that can be opened.
pub(crate) fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

/// `scheme://host` or `scheme://host:port`, as browsers write it: it is compared byte by byte.
fn origin(text: &str) -> Result<HeaderValue, String> {
    let right = "must be scheme://host or scheme://host:port in lower case, such as https://chat.example";
    let authority = text.strip_prefix("http://").or(text.strip_prefix("https://")).unwrap_or_default();
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._:[]".contains(&b);
    if authority.is_empty() || !authority.bytes().all(plain) {
        return Err(right.into());
    }
    text.parse().map_err(|_| right.into())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("must be a whole number from 1".into()),
        Ok(n) => Ok(n),
    }
}

fn bytes(text: &str) -> Result<usize, String> {
    let size = parse_size::parse_size(text).ok().and_then(|size| usize::try_from(size).ok());
    size.filter(|&size| size > 0).ok_or_else(|| "must be a size such as 64KiB or 1MiB".into())
}

fn positive(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).ok();
    let (shortest, longest) = (Duration::from_millis(1), Duration::from_secs(24 * 3600));
    let right = "must be a time from 1ms to 1day, such as 500ms or 25s";
    time.filter(|time| (shortest..=longest).contains(time)).ok_or_else(|| right.into())
}
