//! nginx and haproxy as Debian ships them, in front of the server: children of the test, never services.
//!
//! Their timeouts are a part of what is usual (5 s for 30 s), and so is what is tested against them.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep, timeout};

use crate::helper::{Api, TestServer};
use crate::raw::{PATIENCE, PONG, Raw, RawWs, handshake};

/// A silent connection or a silent answer is cut by the proxy after this long.
const CUT: Duration = Duration::from_secs(5);
const BOTH: [fn(&TestServer) -> Proxy; 2] = [nginx, haproxy];

/// A proxy on a free port; it and its folder go with the test.
pub(crate) struct Proxy {
    name: &'static str,
    child: Child,
    folder: PathBuf,
    pub(crate) addr: SocketAddr,
}

/// With what its manual has for WebSockets, and no word about event streams.
fn nginx(server: &TestServer) -> Proxy {
    nginx_with(server, "")
}

/// The same, with more to say about every request.
fn nginx_with(server: &TestServer, more: &str) -> Proxy {
    Proxy::start("nginx", "nginx-light", server, |at, addr, upstream| {
        let tunnel = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;";
        let cut = CUT.as_secs();
        let timeouts = format!("proxy_read_timeout {cut}s; proxy_send_timeout {cut}s;");
        nginx_configuration(
            at,
            addr,
            upstream,
            &timeouts,
            [more, &format!("{tunnel} {more}")],
        )
    })
}

/// With more to say for all, and for everything but WebSockets and for those.
pub(crate) fn nginx_configuration(
    at: &str,
    addr: SocketAddr,
    upstream: SocketAddr,
    http: &str,
    [other, sockets]: [&str; 2],
) -> String {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {at}/{kind};\n"))
        .concat();
    format!(
        "daemon off; pid {at}/pid; error_log {at}/error.log; worker_processes 1; worker_shutdown_timeout 1s;\nevents {{}}\n\
         http {{ access_log off; {http}\n{temporary}\
         server {{ listen {addr};\n location / {{ proxy_pass http://{upstream}; {other} }}\n\
         location /ws {{ proxy_pass http://{upstream}; {sockets} }} }} }}\n"
    )
}

/// With the timeouts that it asks for.
fn haproxy(server: &TestServer) -> Proxy {
    Proxy::start("haproxy", "haproxy", server, |_, addr, upstream| {
        let cut = CUT.as_secs();
        format!(
            "defaults\n mode http\n timeout connect 5s\n timeout client {cut}s\n timeout server {cut}s\n\
             listen chat\n bind {addr}\n server one {upstream}\n"
        )
    })
}

impl Proxy {
    pub(crate) fn start(
        name: &'static str,
        package: &str,
        server: &TestServer,
        configuration: impl FnOnce(&str, SocketAddr, SocketAddr) -> String,
    ) -> Self {
        // Addresses of their own, or another test's connection could be given the port before they have it.
        let free = TcpListener::bind(if name == "nginx" {
            "127.0.0.6:0"
        } else {
            "127.0.0.7:0"
        })
        .unwrap();
        let addr = free.local_addr().unwrap();
        let folder =
            std::env::temp_dir().join(format!("{name}-{}-{}", std::process::id(), addr.port()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("configuration");
        fs::write(
            &file,
            configuration(&folder.display().to_string(), addr, server.addr),
        )
        .unwrap();
        drop(free);
        let mut command = Command::new(Path::new("/usr/sbin").join(name));
        match name {
            "nginx" => command
                .arg("-p")
                .arg(&folder)
                .arg("-e")
                .arg(folder.join("error.log"))
                .arg("-c")
                .arg(&file),
            _ => command.args(["-db", "-q", "-f"]).arg(&file),
        };
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|_| {
            panic!("{name} is missing: ./test.sh installs it (Debian's {package})")
        });
        Self {
            name,
            child,
            folder,
            addr,
        }
    }

    /// Goes on with another configuration, for what comes from now on; what is open is closed after a second.
    pub(crate) fn configure(
        &mut self,
        server: &TestServer,
        configuration: impl FnOnce(&str, SocketAddr, SocketAddr) -> String,
    ) {
        let at = self.folder.display().to_string();
        let text = configuration(&at, self.addr, server.addr);
        fs::write(self.folder.join("configuration"), text).unwrap();
        let pid = self.child.id().try_into().unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::HUP).unwrap();
    }

    pub(crate) async fn listens(self) -> Self {
        let listens = async {
            while tokio::net::TcpStream::connect(self.addr).await.is_err() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, listens)
            .await
            .unwrap_or_else(|_| panic!("{} does not listen", self.name));
        self
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        reqwest::get(format!("http://{}{path}", self.addr))
            .await
            .expect("an answer through the proxy")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Their masters end their workers on SIGTERM; a SIGKILL would leave them behind.
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The bar is 200 ms; and 200 ms are what the kernel holds a packet back that a proxy calls incomplete.
const AT_ONCE: Duration = Duration::from_millis(100);

#[tokio::test]
async fn no_event_and_no_held_answer_is_kept_back_by_a_proxy() {
    let server = TestServer::start("");
    for proxy in BOTH {
        let proxy = proxy(&server).listens().await;
        // A deadline may be tested with one retry.
        let first = passes(&server, &proxy).await;
        let [hello, event, answer] = if first.iter().all(|time| *time < AT_ONCE) {
            first
        } else {
            passes(&server, &proxy).await
        };
        println!(
            "through {}: the first event after {hello:?}, a later one {event:?}, an answer {answer:?}",
            proxy.name
        );
        assert!(
            hello.max(event).max(answer) < AT_ONCE,
            "{}: {hello:?}, {event:?}, {answer:?}",
            proxy.name
        );
    }
}

/// How long it takes a hello, an event and the answer to a held poll to come through.
async fn passes(server: &TestServer, proxy: &Proxy) -> [Duration; 3] {
    let asked = Instant::now();
    let mut stream = proxy.get("/sse?after=latest").await;
    assert_eq!(stream.version(), reqwest::Version::HTTP_11);
    let first = timeout(PATIENCE, stream.chunk())
        .await
        .expect("an event")
        .unwrap()
        .expect("not the end");
    assert!(first.starts_with(b"retry: "), "{first:?}");
    let hello = asked.elapsed();

    let published = Instant::now();
    let cursor = server.publish("through").await;
    let event = timeout(PATIENCE, stream.chunk())
        .await
        .expect("an event")
        .unwrap()
        .expect("not the end");
    assert!(
        event.starts_with(format!("id: {cursor}\n").as_bytes()),
        "{event:?}"
    );
    let later = published.elapsed();

    let held = async {
        proxy
            .get(&format!("/long-poll?after={cursor}&wait=20s"))
            .await
            .text()
            .await
            .unwrap()
    };
    let publish = async {
        server
            .until("the question is held", |stats| {
                stats["transports"]["long-poll"]["open"] == 1
            })
            .await;
        let published = Instant::now();
        server.publish("answered").await;
        published
    };
    let (answer, published) = timeout(PATIENCE, async { tokio::join!(held, publish) })
        .await
        .expect("an answer");
    assert!(answer.contains("answered"), "{answer}");
    [hello, later, published.elapsed()]
}

#[tokio::test]
async fn a_hold_that_is_shorter_than_the_proxys_timeout_is_answered_by_the_server() {
    let server = TestServer::start("");
    let cursor = server.publish("seen").await;
    let test = async |proxy: fn(&TestServer) -> Proxy| {
        let proxy = proxy(&server).listens().await;
        let hold = async |wait: &str| {
            proxy
                .get(&format!("/long-poll?after={cursor}&wait={wait}"))
                .await
        };
        // 12 s under 30 s; and 60 s, which is what the proxy does not wait for.
        let (held, cut) = tokio::join!(hold("2s"), hold("10s"));
        assert_eq!(
            (held.status(), cut.status()),
            (200.try_into().unwrap(), 504.try_into().unwrap()),
            "{}",
            proxy.name
        );
        assert_eq!(
            held.text().await.unwrap(),
            format!(r#"{{"cursor":"{cursor}","messages":[]}}"#)
        );
    };
    tokio::join!(test(nginx), test(haproxy));
}

/// Whether a WebSocket and an event stream outlive twice the time after which the proxy cuts what is silent.
async fn outlive(server: &TestServer, proxy: fn(&TestServer) -> Proxy) -> [bool; 2] {
    let proxy = proxy(server).listens().await;
    let mut ws = RawWs::open(proxy.addr, "?after=latest").await;
    ws.hello().await;
    let mut stream = Raw::connect(proxy.addr).await;
    stream
        .send("GET /sse?after=latest HTTP/1.1\r\nhost: test\r\n\r\n")
        .await;
    let tunnel = async {
        while let Some(ping) = ws.any_frame().await {
            ws.send(PONG, ping.payload).await;
        }
    };
    let tunnel = async { timeout(2 * CUT, tunnel).await.is_err() };
    let stream = async { timeout(2 * CUT, stream.rest()).await.is_err() };
    tokio::join!(tunnel, stream).into()
}

#[tokio::test]
async fn the_heartbeat_keeps_what_is_silent_open_and_without_it_the_proxy_would_cut() {
    let (beats, silent) = (TestServer::start("--heartbeat 1s"), TestServer::start(""));
    let kept = async { tokio::join!(outlive(&beats, nginx), outlive(&beats, haproxy)) };
    let cut = async { tokio::join!(outlive(&silent, nginx), outlive(&silent, haproxy)) };
    let (kept, cut) = tokio::join!(kept, cut);
    assert_eq!(kept, ([true; 2], [true; 2]));
    assert_eq!(cut, ([false; 2], [false; 2]), "or this test shows nothing");
}

#[tokio::test]
async fn everything_else_works_through_a_proxy_while_streams_are_open() {
    let server = TestServer::start("");
    for (n, proxy) in BOTH.into_iter().enumerate() {
        let proxy = proxy(&server).listens().await;
        let (room, api) = (format!("?room={n}"), Api::at(proxy.addr));
        let mut ws = RawWs::open(proxy.addr, &room).await;
        ws.hello().await;
        let mut stream = proxy.get(&format!("/sse{room}")).await;
        stream.chunk().await.unwrap().expect("the hello");
        for (path, kind) in [
            ("/", "text/html; charset=utf-8"),
            ("/stats", "application/json"),
            ("/healthz", "application/json"),
        ] {
            let answer = api.get(path).await;
            assert_eq!(
                (answer.status, answer.header("content-type")),
                (200, Some(kind)),
                "{path}"
            );
        }
        let posted = api
            .post(&format!("/messages{room}"), r#"{"from":"ann","text":"hi"}"#)
            .await;
        assert_eq!(
            (posted.status, &ws.json().await["text"]),
            (201, &"hi".into())
        );
        let polled = api.get(&format!("/short-poll{room}")).await;
        let etag = polled.header("etag").unwrap();
        let unchanged = format!("/short-poll{room}&after={}", posted.cursor());
        assert_eq!(
            (
                polled.texts(),
                api.get_unless(&unchanged, etag).await.status
            ),
            (vec!["hi".into()], 304)
        );
        for (path, status) in [
            ("/short-poll?after=x", 400),
            ("/nowhere", 404),
            ("/messages", 405),
        ] {
            assert_eq!(api.get(path).await.status, status, "{path}");
        }
    }
}

/// What a page of this host gets through a proxy: the answer to its WebSocket, and what that says.
async fn through(proxy: &Proxy, host: &str) -> (u16, String) {
    let mut raw = Raw::connect(proxy.addr).await;
    let page = format!("host: {host}\r\norigin: http://{host}\r\n");
    raw.send(handshake("", "", "").replacen("host: test\r\n", &page, 1))
        .await;
    let answer = raw.answer().await.expect("an answer");
    (answer.status, answer.body)
}

#[tokio::test]
async fn behind_a_proxy_that_passes_host_on_pages_work_and_a_refusal_has_the_line_that_does() {
    let (server, named) = (
        TestServer::start(""),
        TestServer::start("--allow-host chat.example"),
    );
    let line = "proxy_set_header Host $http_host;";
    let (plain, short) = (
        nginx(&server),
        nginx_with(&server, "proxy_set_header Host $host;"),
    );
    let (right, other) = (nginx_with(&server, line), haproxy(&server));
    let (right_named, other_named) = (nginx_with(&named, line), haproxy(&named));
    for (proxy, host, status, says) in [
        // Its default is the upstream's address: good for clients that are no pages.
        (plain, "chat.example", 403, line),
        (short, "ADDR", 403, line),
        (right, "ADDR", 101, ""),
        (right_named, "chat.example", 101, ""),
        (other_named, "chat.example", 101, ""),
        (other, "chat.example", 421, "--allow-host chat.example "),
    ] {
        let proxy = proxy.listens().await;
        let addr = proxy.addr.to_string();
        let (got, said) = through(&proxy, if host == "ADDR" { &addr } else { host }).await;
        assert!(
            got == status && said.contains(says),
            "{} as {host}: {got} {said}",
            proxy.name
        );
    }
}
