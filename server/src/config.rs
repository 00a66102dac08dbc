//! The server's flags and their defaults, each with its unit.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use hyper::header::HeaderValue;

use crate::access;
use crate::memory::PER_CONNECTION;
use crate::rooms::Retention;
use crate::tap::{TAP, TAPS};

/// Descriptors that are not for connections, if there are this many: the listener, the runtime, clients being refused.
const RESERVED_DESCRIPTORS: u64 = 512;
/// The least memory that lets hundreds of clients in.
const LEAST_MEMORY: usize = 32 << 20;

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
    #[arg(long, value_name = "ORIGIN", value_parser = access::origin::parse)]
    pub(crate) allow_origin: Vec<HeaderValue>,
    /// Host that requests may name, whatever the port, beside localhost, loopback addresses, the address of --host (any
    /// but 0.0.0.0 if that is 0.0.0.0) and the hosts of --allow-origin; may be repeated.
    #[arg(long, value_name = "NAME", value_parser = access::allowed_host)]
    pub(crate) allow_host: Vec<String>,
    /// Most rooms at once; beyond it a rested room goes, or 429.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = at_least_one, allow_hyphen_values = true)]
    pub(crate) max_rooms: usize,
    /// Most connections at once, beyond it 503 [default: the descriptor limit minus 512, at least half of it; what half of
    /// --memory holds at 40 KiB each, if that is less].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), allow_hyphen_values = true)]
    pub(crate) max_connections: Option<u64>,
    /// Most memory for clients; beyond it the oldest messages go, then 503 and 1013 [default: a quarter of the machine's].
    #[arg(long, value_name = "SIZE", value_parser = memory, allow_hyphen_values = true)]
    pub(crate) memory: Option<usize>,
    /// Messages a room retains.
    #[arg(long, alias = "window-messages", value_name = "N", default_value_t = 8192, value_parser = at_least_one, allow_hyphen_values = true)]
    pub(crate) retain_messages: usize,
    /// Bytes of messages a room retains.
    #[arg(long, alias = "window-bytes", value_name = "SIZE", default_value = "1MiB", value_parser = bytes, allow_hyphen_values = true)]
    pub(crate) retain_bytes: usize,
    /// A peer that takes nothing for this long is cut.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = positive, allow_hyphen_values = true)]
    pub(crate) write_deadline: Duration,
    /// A connection that sends no (whole) request for this long is closed.
    #[arg(long, value_name = "TIME", default_value = "75s", value_parser = positive, allow_hyphen_values = true)]
    pub(crate) idle_deadline: Duration,
    /// Open streams get a sign of life this often.
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = positive, allow_hyphen_values = true)]
    pub(crate) heartbeat: Duration,
    /// Bytes of a connection that may wait in the kernel to be sent; 0 leaves it to the kernel. For measuring.
    #[arg(long, value_name = "SIZE", default_value = "128KiB", value_parser = size, hide = true)]
    pub(crate) unsent: u32,
    /// File with Socket.IO's client, which pages then find at /socket.io/socket.io.js.
    #[arg(long, value_name = "FILE", value_parser = crate::transport::socketio::script::read)]
    pub(crate) socketio_client: Option<Bytes>,
    /// What goes wrong on purpose.
    #[cfg(feature = "faults")]
    #[command(flatten)]
    pub(crate) faults: crate::faults::FaultFlags,
}

impl Config {
    pub(crate) fn addr(&self) -> SocketAddr {
        SocketAddr::new(self.host.addr, self.port)
    }

    /// The hosts it answers for, listening at this address.
    pub(crate) fn hosts(&self, address: IpAddr) -> access::Hosts {
        let of_pages = self.allow_origin.iter().filter_map(access::origin::host);
        let own = Some(&self.host.given).filter(|given| given.parse::<IpAddr>().is_err());
        let own = own.map(|name| name.trim_end_matches('.').to_ascii_lowercase());
        access::Hosts::new(
            address,
            of_pages.chain(self.allow_host.iter().cloned()).chain(own),
        )
    }

    pub(crate) fn retention(&self) -> Retention {
        Retention {
            messages: self.retain_messages,
            bytes: self.retain_bytes,
        }
    }

    /// What the server may have: this many descriptors, and as much memory unless `--memory` says how much.
    pub(crate) fn limits(&self, descriptors: u64, quarter: usize) -> Result<Limits, String> {
        let memory = self.memory.unwrap_or(quarter.max(LEAST_MEMORY));
        let half = (memory / 2 / PER_CONNECTION) as u64;
        let default = (descriptors - RESERVED_DESCRIPTORS.min(descriptors / 2)).min(half);
        let connections = self.max_connections.unwrap_or(default);
        let reserved = usize::try_from(connections)
            .unwrap_or(usize::MAX)
            .saturating_mul(PER_CONNECTION);
        // A quarter is for the rest.
        if reserved > memory / 4 * 3 {
            return Err(format!(
                "--max-connections {connections} needs --memory {}MiB or more, at {} KiB each and a quarter for the rest; \
                 it is {}MiB",
                (reserved / 3 * 4).div_ceil(1 << 20),
                PER_CONNECTION / 1024,
                memory >> 20,
            ));
        }
        let taps = TAPS.min(memory / 8 / TAP);
        Ok(Limits {
            connections,
            taps,
            memory: memory - reserved - taps * TAP,
        })
    }
}

/// What the flags and the machine allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Most connections at once.
    pub(crate) connections: u64,
    /// Most taps at once: as many as an eighth of the memory holds.
    pub(crate) taps: usize,
    /// Bytes for everything else that clients make the server hold.
    pub(crate) memory: usize,
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
    let literal = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    if let Ok(addr) = literal.parse() {
        return Ok(Host {
            given: literal.into(),
            addr,
        });
    }
    let right = "must be an address such as 127.0.0.1 or ::1, or a name such as localhost";
    let name = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    if text.is_empty() || !text.bytes().all(name) {
        return Err(right.into());
    }
    let resolved = (text, 0)
        .to_socket_addrs()
        .map_err(|error| format!("{right}; this one is unknown: {error}"))?;
    let addrs: Vec<IpAddr> = resolved.map(|addr| addr.ip()).collect();
    // One of them: clients try both families, and the older one is everywhere.
    let addr = addrs.iter().find(|addr| addr.is_ipv4()).or(addrs.first());
    addr.map(|&addr| Host {
        given: text.into(),
        addr,
    })
    .ok_or_else(|| format!("{right}; this one has no address"))
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

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("must be a whole number from 1".into()),
        Ok(n) => Ok(n),
    }
}

fn bytes(text: &str) -> Result<usize, String> {
    let size = parse_size::parse_size(text)
        .ok()
        .and_then(|size| usize::try_from(size).ok());
    size.filter(|&size| size > 0)
        .ok_or_else(|| "must be a size such as 64KiB or 1MiB".into())
}

fn memory(text: &str) -> Result<usize, String> {
    let right = "must be a size from 32MiB, such as 256MiB or 4GiB";
    bytes(text)
        .ok()
        .filter(|&size| size >= LEAST_MEMORY)
        .ok_or_else(|| right.into())
}

fn size(text: &str) -> Result<u32, String> {
    let size = parse_size::parse_size(text)
        .ok()
        .and_then(|size| u32::try_from(size).ok());
    size.ok_or_else(|| "must be a size such as 128KiB, or 0".into())
}

fn positive(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).ok();
    let (shortest, longest) = (Duration::from_millis(1), Duration::from_secs(24 * 3600));
    let right = "must be a time from 1ms to 1day, such as 500ms or 25s";
    time.filter(|time| (shortest..=longest).contains(time))
        .ok_or_else(|| right.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        config: Config,
    }

    fn limits(flags: &str, descriptors: u64) -> Result<Limits, String> {
        let flags = Flags::try_parse_from(format!("server {flags}").split_whitespace());
        flags
            .map_err(|error| error.to_string())?
            .config
            .limits(descriptors, 6 << 30)
    }

    #[test]
    fn who_is_gone_is_noticed_before_a_proxy_in_between_would_cut_who_is_there() {
        let Flags { config } = Flags::parse_from(["server"]);
        let [heartbeat, write, idle] = [
            config.heartbeat,
            config.write_deadline,
            config.idle_deadline,
        ];
        // Proxies cut what rests for 30 or 60 s.
        assert!((20..=25).contains(&heartbeat.as_secs()), "{heartbeat:?}");
        assert_eq!((write.as_secs(), idle.as_secs()), (5, 75), "as documented");
    }

    #[test]
    fn connections_are_bounded_by_descriptors_and_by_memory_and_leave_the_rest_for_messages() {
        for (flags, descriptors, connections) in [
            ("", 20_000, 19_488),
            ("", 64, 32),
            ("--memory 256MiB", 20_000, 3276),
            ("--max-connections 4000 --memory 256MiB", 20_000, 4000),
            ("--max-connections 100", 20_000, 100),
        ] {
            let found = limits(flags, descriptors).unwrap();
            let memory = if flags.contains("256MiB") {
                256 << 20
            } else {
                6 << 30
            };
            assert_eq!(found.connections, connections, "{flags}");
            assert_eq!(
                found.taps,
                if memory == 6 << 30 { 64 } else { 46 },
                "{flags}"
            );
            let set_aside = connections as usize * PER_CONNECTION + found.taps * TAP;
            assert_eq!(found.memory, memory - set_aside, "{flags}");
        }
    }

    #[test]
    fn too_little_memory_is_refused_with_how_much_would_do() {
        let error = limits("--max-connections 5000 --memory 256MiB", 20_000).unwrap_err();
        assert!(
            error.contains("--max-connections 5000 needs --memory 261MiB"),
            "{error}"
        );
        assert!(limits("--max-connections 5000 --memory 261MiB", 20_000).is_ok());
        for flags in [
            "--memory 31MiB",
            "--memory 0",
            "--memory many",
            "--memory -1",
            "--memory 1e30",
        ] {
            let error = limits(flags, 20_000).unwrap_err();
            assert!(
                error.contains("--memory") && error.contains("from 32MiB"),
                "{flags}: {error}"
            );
        }
    }
}
