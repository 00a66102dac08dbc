//! `loadgen probe` through real proxies: it names the setting that cuts, and raises no alarm where nothing does.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::helper::{TestServer, Watched, beside, loadgen, within};

/// A proxy that has started listens by then.
const START: Duration = Duration::from_secs(60);

/// nginx or haproxy as a child, on a free port; it and its folder go with the test.
struct Proxy {
    child: Child,
    folder: PathBuf,
    addr: SocketAddr,
}

impl Proxy {
    /// nginx with these lines in its `http` block, and these in its only location.
    fn nginx(http: &str, location: &str, servers: &[&TestServer]) -> Self {
        let several: String = servers
            .iter()
            .map(|it| format!("server {};", it.addr))
            .collect();
        let (upstream, to) = match servers {
            [one] => (String::new(), one.addr.to_string()),
            _ => (format!("upstream chat {{ {several} }}"), "chat".into()),
        };
        Self::start("nginx", |at, addr| {
            let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|kind| format!("{kind}_temp_path {at}/{kind};"))
                .concat();
            format!(
                "daemon off; pid {at}/pid; error_log {at}/error.log; worker_processes 1;\n\
                 worker_shutdown_timeout 1s; events {{}}\n\
                 http {{ access_log off; {temporary} {http} {upstream}\n\
                 server {{ listen {addr}; location / {{ proxy_pass http://{to}; {location} }} }} }}\n"
            )
        })
    }

    /// haproxy with these timeouts and other lines.
    fn haproxy(lines: &[&str], servers: &[&TestServer]) -> Self {
        let servers: String = (0..)
            .zip(servers)
            .map(|(n, server)| format!(" server s{n} {}\n", server.addr))
            .collect();
        let lines = lines.join("\n ");
        Self::start("haproxy", |_, addr| {
            format!(
                "defaults\n mode http\n timeout connect 5s\n\
                 listen chat\n bind {addr}\n {lines}\n{servers}"
            )
        })
    }

    fn start(name: &str, configuration: impl FnOnce(&str, SocketAddr) -> String) -> Self {
        // An address of its own, or others could be given the port before it has it.
        static STARTED: AtomicU8 = AtomicU8::new(1);
        let own = [std::process::id() as u8, STARTED.fetch_add(1, Relaxed)];
        let free = TcpListener::bind((Ipv4Addr::new(127, 8, own[0], own[1]), 0)).unwrap();
        let addr = free.local_addr().unwrap();
        let folder = format!("probe-{name}-{}-{}", std::process::id(), addr.port());
        let folder = std::env::temp_dir().join(folder);
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("configuration");
        fs::write(&file, configuration(&folder.display().to_string(), addr)).unwrap();
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
        let child = child.unwrap_or_else(|_| panic!("{name} is missing: ./test.sh installs it"));
        let proxy = Self {
            child,
            folder,
            addr,
        };
        within(START, &format!("{name} listens"), || {
            TcpStream::connect(addr).ok()
        });
        proxy
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

/// What a probe has said: its exit code, its text, and the same as JSON.
struct Said {
    code: Option<i32>,
    json: Value,
}

impl Said {
    fn safe(&self, transport: &str) -> bool {
        let transports = self.json["transports"].as_array().unwrap();
        let verdict = transports.iter().find(|it| it["transport"] == transport);
        verdict.unwrap()["safe"] == true
    }

    fn kinds(&self) -> Vec<&str> {
        let problems = self.json["problems"].as_array().unwrap();
        problems
            .iter()
            .map(|it| it["kind"].as_str().unwrap())
            .collect()
    }

    fn problem(&self, kind: &str) -> &Value {
        let problems = self.json["problems"].as_array().unwrap();
        let problem = problems.iter().find(|it| it["kind"] == kind);
        problem.unwrap_or_else(|| panic!("no {kind}: {:#}", self.json))
    }

    /// The line that sets it right in a product.
    fn line(&self, kind: &str, product: &str) -> &str {
        let settings = self.problem(kind)["settings"].as_array().unwrap();
        let setting = settings.iter().find(|it| it["product"] == product);
        setting.unwrap()["line"].as_str().unwrap()
    }
}

/// Probes a path, while the servers of this test run.
async fn probe(addr: SocketAddr, flags: &str) -> Said {
    let arguments = format!("probe http://{addr} --json --quiet {flags}");
    let output = tokio::task::spawn_blocking(move || loadgen(&arguments).output().unwrap());
    let output = output.await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
    Said {
        code: output.status.code(),
        json,
    }
}

/// With what its manual has for WebSockets and for pages.
const WELL: &str = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
                    proxy_set_header Connection upgrade; proxy_set_header Host $http_host;";
const UP_TO: &str = "--up-to 5s --heartbeats 1s,2s";

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_carries_all_raises_no_alarm() {
    let _turn = beside();
    let server = TestServer::start("");
    let nginx = Proxy::nginx("", WELL, &[&server]);
    let lines = [
        "timeout client 60s",
        "timeout server 60s",
        "timeout tunnel 1h",
    ];
    let haproxy = Proxy::haproxy(&lines, &[&server]);
    let (direct, nginx, haproxy) = tokio::join!(
        probe(server.addr, UP_TO),
        probe(nginx.addr, UP_TO),
        probe(haproxy.addr, UP_TO)
    );
    for said in [direct, nginx, haproxy] {
        assert_eq!(
            (said.kinds(), said.code),
            (vec![], Some(0)),
            "{:#}",
            said.json
        );
        let waits = said.json["found"]["waits"].as_array().unwrap();
        assert_eq!(waits.len(), 7);
        assert!(
            waits.iter().all(|wait| wait["end"]["is"] == "lived"),
            "{waits:#?}"
        );
        let beats = |wait: &&Value| !wait["heartbeat_s"].is_null();
        assert!(
            waits
                .iter()
                .filter(beats)
                .all(|wait| wait["beats"].as_u64() > Some(0))
        );
        assert!(said.json["found"]["connections"].as_u64() <= Some(20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_with_nothing_but_proxy_pass_is_told_of_upgrade_host_and_timeout() {
    let _turn = beside();
    let server = TestServer::start("");
    let nginx = Proxy::nginx("proxy_read_timeout 3s;", "", &[&server]);
    let said = probe(nginx.addr, UP_TO).await;
    assert_eq!(said.code, Some(1));
    let kinds = ["host", "upgrade", "held-poll", "idle-stream"];
    assert_eq!(said.kinds(), kinds, "{:#}", said.json);
    let line = said.line("upgrade", "nginx");
    assert!(
        line.contains("proxy_set_header Upgrade $http_upgrade;"),
        "{line}"
    );
    assert_eq!(said.json["found"]["upgrade"]["status"], 426);
    assert_eq!(
        said.line("host", "nginx"),
        "proxy_set_header Host $http_host;"
    );
    assert_eq!(said.line("idle-stream", "nginx"), "proxy_read_timeout 60s;");
    assert_eq!(said.line("held-poll", "nginx"), "proxy_read_timeout 50s;");
    let poll = &said.json["found"]["waits"][0];
    assert_eq!(
        poll["end"],
        serde_json::json!({ "is": "status", "status": 504 })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_read_timeout_of_nginx_is_named_for_all_that_wait() {
    let _turn = beside();
    let server = TestServer::start("");
    let nginx = Proxy::nginx("proxy_read_timeout 2s;", WELL, &[&server]);
    let said = probe(nginx.addr, UP_TO).await;
    assert_eq!(said.code, Some(1));
    let kinds = ["held-poll", "idle-stream", "idle-socket"];
    assert_eq!(said.kinds(), kinds, "{:#}", said.json);
    for kind in kinds {
        assert!(said.line(kind, "nginx").starts_with("proxy_read_timeout"));
    }
    assert!(said.safe("short-poll"));
    // One beat a second keeps both open.
    let waits = said.json["found"]["waits"].as_array().unwrap();
    for wait in waits.iter().filter(|wait| wait["heartbeat_s"] == 1.0) {
        assert_eq!(wait["end"]["is"], "lived", "{wait}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_tunnel_timeout_of_haproxy_is_named_for_the_two_streams() {
    let _turn = beside();
    let server = TestServer::start("");
    let lines = [
        "timeout client 60s",
        "timeout server 60s",
        "timeout tunnel 2s",
    ];
    let haproxy = Proxy::haproxy(&lines, &[&server]);
    let said = probe(haproxy.addr, UP_TO).await;
    let kinds = ["idle-stream", "idle-socket"];
    assert_eq!(
        (said.kinds(), said.code),
        (kinds.into(), Some(1)),
        "{:#}",
        said.json
    );
    assert_eq!(said.line("idle-socket", "haproxy"), "timeout tunnel 60s");
    // To haproxy, an answer without a length and without chunks is a tunnel, too.
    assert!(
        said.line("idle-stream", "haproxy")
            .starts_with("timeout tunnel 60s")
    );
    assert!(said.safe("short-poll") && said.safe("long-poll"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_refuses_upgrades_is_told_so() {
    let _turn = beside();
    let server = TestServer::start("");
    let deny = "http-request deny deny_status 403 if { hdr(upgrade) -i websocket }";
    let lines = ["timeout client 60s", "timeout server 60s", deny];
    let haproxy = Proxy::haproxy(&lines, &[&server]);
    let said = probe(haproxy.addr, UP_TO).await;
    assert_eq!(
        (said.kinds(), said.code),
        (vec!["upgrade"], Some(1)),
        "{:#}",
        said.json
    );
    assert!(said.line("upgrade", "haproxy").contains("http-request"));
    let why = said.problem("upgrade")["said"].as_str().unwrap();
    assert!(why.contains("403 is answered instead of 101"), "{why}");
    assert!(said.safe("sse") && !said.safe("ws"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_in_turns_are_counted_and_stickiness_is_named() {
    let _turn = beside();
    let (one, other) = (TestServer::start(""), TestServer::start(""));
    let lines = |balance| ["timeout client 60s", "timeout server 60s", balance];
    let haproxy = Proxy::haproxy(&lines("balance roundrobin"), &[&one, &other]);
    let nginx = Proxy::nginx("", WELL, &[&one, &other]);
    let sticky = Proxy::haproxy(&lines("balance url_param room"), &[&one, &other]);
    let flags = "--up-to 2s --heartbeats 1s";
    let (by_haproxy, by_nginx, sticky) = tokio::join!(
        probe(haproxy.addr, flags),
        probe(nginx.addr, flags),
        probe(sticky.addr, flags)
    );
    for (said, product, line) in [
        (by_haproxy, "haproxy", "balance url_param room"),
        (by_nginx, "nginx", "hash $arg_room consistent;"),
    ] {
        assert_eq!(
            (said.kinds(), said.code),
            (vec!["servers"], Some(1)),
            "{:#}",
            said.json
        );
        assert_eq!(said.json["found"]["servers"]["different"], 2);
        assert!(said.json["found"]["servers"]["cursor_unknown"].as_u64() > Some(0));
        assert!(said.line("servers", product).starts_with(line));
        let why = said.problem("servers")["said"].as_str().unwrap();
        assert!(
            why.contains("2 servers answer") && why.contains("stickiness"),
            "{why}"
        );
    }
    // By room, all that concerns one is at one of them: what was advised is no false advice.
    assert_eq!(
        (sticky.kinds(), sticky.code),
        (vec![], Some(0)),
        "{:#}",
        sticky.json
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_as_long_as_the_cut_is_named_with_one_well_below() {
    let _turn = beside();
    let server = TestServer::start("--heartbeat 2s");
    let nginx = Proxy::nginx("proxy_read_timeout 2s;", WELL, &[&server]);
    let said = probe(nginx.addr, "--up-to 5s --heartbeats 1s,2s --hold 1s").await;
    assert_eq!(said.code, Some(1));
    assert_eq!(
        said.kinds(),
        ["idle-stream", "idle-socket"],
        "{:#}",
        said.json
    );
    let waits = said.json["found"]["waits"].as_array().unwrap();
    let silent = waits
        .iter()
        .find(|wait| wait["transport"] == "ws" && wait["heartbeat_s"].is_null());
    let cut = silent.unwrap()["silent_s"].as_f64().unwrap();
    let problem = said.problem("idle-socket");
    let why = problem["said"].as_str().unwrap();
    assert!(why.contains("heartbeat of 2s is too"), "{why}");
    let instead = problem["instead"].as_str().unwrap();
    let right = instead.strip_prefix("--heartbeat ").unwrap();
    let right = right.strip_suffix(" at the server").unwrap();
    let right = humantime::parse_duration(right).unwrap().as_secs_f64();
    assert!(
        right <= cut * 0.503 && right >= cut / 3.0 - 0.001,
        "{right} of {cut}"
    );
    assert_eq!(
        said.line("idle-socket", "AWS ALB"),
        "idle_timeout.timeout_seconds=6"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_buffers_whatever_it_is_told_is_named() {
    let _turn = beside();
    let server = TestServer::start("");
    let buffers = format!("{WELL} proxy_ignore_headers X-Accel-Buffering;");
    let nginx = Proxy::nginx("", &buffers, &[&server]);
    let said = probe(nginx.addr, "--up-to 2s --heartbeats 1s").await;
    assert_eq!(
        (said.kinds(), said.code),
        (vec!["buffering"], Some(1)),
        "{:#}",
        said.json
    );
    assert!(
        said.line("buffering", "nginx")
            .starts_with("proxy_buffering off;")
    );
    assert!(said.safe("ws") && !said.safe("sse"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_is_taken_off_is_named() {
    let _turn = beside();
    let server = TestServer::start("");
    let lost = "http-request del-header Last-Event-ID";
    let lines = ["timeout client 60s", "timeout server 60s", lost];
    let haproxy = Proxy::haproxy(&lines, &[&server]);
    let said = probe(haproxy.addr, "--up-to 2s --heartbeats 1s").await;
    assert_eq!(
        (said.kinds(), said.code),
        (vec!["headers"], Some(1)),
        "{:#}",
        said.json
    );
    let why = said.problem("headers")["said"].as_str().unwrap();
    assert!(
        why.contains("last-event-id of sse does not arrive"),
        "{why}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_reads_what_is_done_what_was_found_and_the_line_to_change() {
    let _turn = beside();
    let server = TestServer::start("");
    let nginx = Proxy::nginx("proxy_read_timeout 2s;", WELL, &[&server]);
    let arguments = format!("probe http://{} --up-to 4s", nginx.addr);
    let output = tokio::task::spawn_blocking(move || loadgen(&arguments).output().unwrap());
    let output = output.await.unwrap();
    let (said, text) = (
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout),
    );
    assert!(
        said.contains("connections") && said.contains("It takes about 9s"),
        "{said}"
    );
    for part in [
        "1 server answers, over 6 new connections",
        "ws, silent",
        "FIN without a close frame",
        "  ws            NOT SAFE: a silent WebSocket is cut after",
        "  nginx         proxy_read_timeout 60s;",
        "  haproxy       timeout tunnel 60s",
    ] {
        assert!(text.contains(part), "{part} is in {text}");
    }
    let longest = text.lines().map(|line| line.chars().count()).max();
    assert!(longest <= Some(100), "{text}");
    assert!(!text.contains('\u{1b}'));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_it_with_what_is_known_so_far() {
    let _turn = beside();
    let server = TestServer::start("");
    let mut command = loadgen(&format!("probe http://{} --json", server.addr));
    command.stdout(Stdio::piped());
    let running = tokio::task::spawn_blocking(move || {
        let mut running = Watched::start(command);
        running.hears("are left open");
        running.signal(Signal::INT);
        let code = running.end().0;
        let mut printed = String::new();
        let stdout = running.child.stdout.as_mut().unwrap();
        std::io::Read::read_to_string(stdout, &mut printed).unwrap();
        (code, printed)
    });
    let (code, printed) = running.await.unwrap();
    let json: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(
        (code, &json["found"]["interrupted"]),
        (Some(130), &true.into())
    );
    assert_eq!(json["transports"].as_array().unwrap().len(), 4);
}

#[test]
fn what_cannot_be_probed_is_refused_in_a_clear_sentence() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = silent.local_addr().unwrap();
    drop(silent);
    for (arguments, says) in [
        (format!("http://{nobody}"), "nothing answers there"),
        ("127.0.0.1:3000".into(), "http://127.0.0.1:3000"),
        ("https://127.0.0.1:3000".into(), "only http://HOST:PORT"),
        ("http://192.0.2.1:3000".into(), "--allow-remote"),
        (
            "http://me:secret@127.0.0.1:1".into(),
            "no name or password is sent",
        ),
        (
            "http://127.0.0.1:1 --up-to 10m".into(),
            "'--up-to <TIME>': must be a time from 1s to 9m",
        ),
        (
            "http://127.0.0.1:1 --heartbeats 20".into(),
            "'--heartbeats <TIMES>': must be a time from 1s to 10m",
        ),
        (
            "http://127.0.0.1:1 --heartbeats 1s,2s,3s,4s,5s,6s".into(),
            "--heartbeats: at most 5 of them, found 6",
        ),
        (String::new(), "<URL>"),
    ] {
        let output = loadgen(&format!("probe {arguments}")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {said}");
        assert!(said.contains(says), "{arguments}: {said}");
        assert!(
            !said.contains("secret") && output.stdout.is_empty(),
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_server_of_the_workbench_is_told_from_one_that_is_out_of_reach() {
    let _turn = beside();
    let gone = TestServer::start("");
    let server = TestServer::start("");
    let named = Proxy::nginx("", "proxy_set_header Host chat.example;", &[&server]);
    let behind = Proxy::nginx("", "", &[&gone]);
    let other = Proxy::nginx("", "return 404;", &[&gone]);
    gone.stop().await;
    for (addr, says) in [
        (behind.addr, "a proxy answers there with 502"),
        (other.addr, "is not a server of this workbench"),
        (named.addr, "proxy_set_header Host $http_host;"),
    ] {
        let arguments = format!("probe http://{addr}");
        let output = tokio::task::spawn_blocking(move || loadgen(&arguments).output().unwrap());
        let output = output.await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(says), "{said}");
    }
}
