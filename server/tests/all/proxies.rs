//! nginx as Debian ships it, in front of the server with nothing but `proxy_pass`: a child of the test, never a service.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::helper::TestServer;
use crate::raw::PATIENCE;

/// nginx on a free port; it and its folder go with the test.
struct Nginx {
    child: Child,
    folder: PathBuf,
    addr: SocketAddr,
}

impl Nginx {
    async fn in_front_of(server: &TestServer) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = free.local_addr().unwrap();
        let folder = std::env::temp_dir().join(format!("nginx-{}-{}", std::process::id(), addr.port()));
        fs::create_dir_all(&folder).unwrap();
        let at = folder.display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {at}/{kind};\n"))
            .concat();
        let configuration = format!(
            "daemon off; pid {at}/pid; error_log {at}/error.log; worker_processes 1;\nevents {{}}\n\
             http {{ access_log off;\n{temporary} server {{ listen {addr}; location / {{ proxy_pass http://{}; }} }} }}\n",
            server.addr
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, configuration).unwrap();
        drop(free);
        let mut command = Command::new("/usr/sbin/nginx");
        command
            .arg("-p")
            .arg(&folder)
            .arg("-e")
            .arg(folder.join("error.log"))
            .arg("-c")
            .arg(&file)
            .stderr(Stdio::null());
        let child = command.spawn().expect("nginx is missing: ./test.sh installs it (Debian's package nginx-light)");
        let nginx = Self { child, folder, addr };
        let listens = async {
            while tokio::net::TcpStream::connect(addr).await.is_err() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, listens).await.expect("nginx listens");
        nginx
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        reqwest::get(format!("http://{}{path}", self.addr)).await.expect("an answer through nginx")
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its master ends its workers on SIGTERM; a SIGKILL would leave them behind.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test]
async fn the_first_event_is_not_kept_back_by_a_proxy() {
    let server = TestServer::start("");
    let nginx = Nginx::in_front_of(&server).await;
    // A deadline may be tested with twice the slack and one retry: the bar is 200 ms.
    let mut fastest = Duration::MAX;
    for _ in 0..2 {
        let asked = Instant::now();
        let mut stream = nginx.get("/sse").await;
        let first = timeout(PATIENCE, stream.chunk()).await.expect("an event").unwrap().expect("not the end");
        assert!(first.starts_with(b"retry: 1000\nid: "), "{first:?}");
        fastest = fastest.min(asked.elapsed());
    }
    println!("the first event came through nginx after {fastest:?}");
    assert!(fastest < Duration::from_millis(400), "{fastest:?}");
}

#[tokio::test]
async fn each_later_event_and_a_held_poll_pass_at_once_too() {
    let server = TestServer::start("");
    let nginx = Nginx::in_front_of(&server).await;
    let mut stream = nginx.get("/sse").await;
    stream.chunk().await.unwrap().expect("the hello");
    let cursor = server.publish("through").await;
    let event = timeout(PATIENCE, stream.chunk()).await.expect("the event").unwrap().expect("not the end");
    assert!(event.starts_with(format!("id: {cursor}\n").as_bytes()), "{event:?}");

    let held = async { nginx.get(&format!("/long-poll?after={cursor}&wait=20s")).await.text().await.unwrap() };
    let publish = async {
        server.until("the question is held", |stats| stats["subscribers"] == 2).await;
        server.publish("answered").await
    };
    let (answer, _) = timeout(PATIENCE, async { tokio::join!(held, publish) }).await.expect("an answer");
    assert!(answer.contains("answered"), "{answer}");
}
