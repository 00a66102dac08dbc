//! How a proxy is configured before a server: as people do it whose clients keep their connections, and with one worker.
//!
//! Upgrades pass, nothing is buffered, timeouts are longer than any trial, upstream connections are kept. One worker is one
//! core's work, as the server's beside it: what a delivery costs does not depend on how many there would be room for.

use crate::result::proxy::Proxy;

/// What is filled in.
pub(super) struct Places<'a> {
    /// Where it listens.
    pub(super) address: &'a str,
    /// Where the server does.
    pub(super) server: &'a str,
    /// A folder of its own.
    pub(super) folder: &'a str,
}

/// Files for so many connections, with both sides of each and a reserve.
pub(super) fn files(connections: usize) -> usize {
    connections * 5 / 2
}

/// The configuration for so many connections of clients and publishers, each of which has another one to the server.
pub(super) fn text(proxy: Proxy, places: &Places<'_>, connections: usize) -> String {
    match proxy {
        Proxy::Nginx => nginx(places, connections),
        Proxy::Haproxy => haproxy(places, connections),
    }
}

/// Both sides of a connection count, and with fewer than a sixteenth of them free it closes such as rest, held polls and
/// streams among them: a fifth more than are needed stays free.
///
/// Its idle connections to the server are closed after a minute, by default: before the server does it after 75 s, for a request
/// that meets that would fail. A body is kept in memory, so that the folder has nothing but the number of its process.
fn nginx(places: &Places<'_>, connections: usize) -> String {
    let Places {
        address,
        server,
        folder,
    } = places;
    let both_sides = files(connections);
    format!(
        r#"daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr warn;
events {{
    worker_connections {both_sides};
}}
http {{
    access_log off;
    client_body_temp_path {folder}/client_body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_body_buffer_size 512k;
    keepalive_timeout 1d;
    keepalive_requests 1000000000;
    map $http_upgrade $connection_upgrade {{
        default upgrade;
        "" "";
    }}
    upstream server {{
        server {server};
        keepalive {connections};
        keepalive_requests 1000000000;
    }}
    server {{
        listen {address} backlog=4096;
        location / {{
            proxy_pass http://server;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_buffering off;
            proxy_read_timeout 1d;
            proxy_send_timeout 1d;
        }}
    }}
}}
"#
    )
}

/// `tune.pool-...`: by default it keeps no connection to the server while more than a fifth of its files are in use, as they
/// always are where there is room for this load and little more. `http-no-delay`: of an answer in chunks it would hold back each for 200 ms.
fn haproxy(places: &Places<'_>, connections: usize) -> String {
    let Places {
        address,
        server,
        folder: _,
    } = places;
    format!(
        "global
    maxconn {connections}
    nbthread 1
    tune.pool-low-fd-ratio 100
    tune.pool-high-fd-ratio 100
defaults
    mode http
    option forwardfor
    option http-no-delay
    http-reuse always
    timeout connect 5s
    timeout client 1d
    timeout server 1d
    timeout tunnel 1d
    timeout http-keep-alive 1d
listen server
    bind {address}
    server one {server}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_and_number_is_filled_in_and_upgrades_pass_unbuffered() {
        let places = Places {
            address: "127.0.0.2:81",
            server: "127.0.0.1:82",
            folder: "/there",
        };
        let text = |proxy| text(proxy, &places, 1048);
        for (proxy, all) in [
            (
                Proxy::Nginx,
                &[
                    "worker_processes 1;",
                    "worker_connections 2620;",
                    "pid /there/pid;",
                    "listen 127.0.0.2:81 backlog=4096;",
                    "server 127.0.0.1:82;",
                    "keepalive 1048;",
                    "proxy_http_version 1.1;",
                    "proxy_set_header Host $http_host;",
                    "proxy_set_header Upgrade $http_upgrade;",
                    "proxy_buffering off;",
                    "access_log off;",
                ][..],
            ),
            (
                Proxy::Haproxy,
                &[
                    "nbthread 1",
                    "maxconn 1048",
                    "bind 127.0.0.2:81",
                    "server one 127.0.0.1:82",
                    "option forwardfor",
                    "tune.pool-low-fd-ratio 100",
                ],
            ),
        ] {
            let text = text(proxy);
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            for line in all {
                assert!(lines.contains(line), "{proxy}: {line}: {text}");
            }
            assert_eq!(text.matches('{').count(), text.matches('}').count());
            assert!(text.ends_with('\n'), "haproxy reads no line without an end");
        }
    }
}
