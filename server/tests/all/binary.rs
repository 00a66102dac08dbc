//! The binary as others start it: its address, its exit codes, what it says about its flags.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::program::{binary, output, signal, started};
use crate::raw::RawWs;

#[tokio::test]
async fn the_binary_prints_its_address_and_nothing_else_and_sigterm_ends_it_with_0() {
    for name in [Signal::TERM, Signal::INT] {
        let (child, line) = started(&mut binary("--port 0 --print-addr")).await;
        let addr = line.strip_suffix('\n').expect("a whole line").parse().expect("an address and nothing else");
        assert_eq!(line, format!("127.0.0.1:{}\n", std::net::SocketAddr::port(&addr)));
        let mut ws = RawWs::open(addr, "").await;
        ws.hello().await;
        signal(&child, name);
        assert_eq!(ws.close_code().await, 1012);
        drop(ws);
        let output = output(child).await;
        assert_eq!(output.status.code(), Some(0));
        assert_eq!((output.stdout, output.stderr), (Vec::new(), Vec::new()));
    }
}

#[tokio::test]
async fn the_binary_drains_on_a_signal_that_comes_as_soon_as_its_address() {
    for _ in 0..20 {
        let (child, _) = started(&mut binary("--port 0 --print-addr")).await;
        signal(&child, Signal::TERM);
        assert_eq!(output(child).await.status.code(), Some(0));
    }
}

#[tokio::test]
async fn the_binary_says_which_flag_is_wrong_and_exits_with_2() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let refused = output(binary(&format!("--print-addr --port {port}")).spawn().unwrap()).await;
    let reason = String::from_utf8(refused.stderr).unwrap();
    assert_eq!((refused.status.code(), refused.stdout.len(), reason.lines().count()), (Some(2), 0, 1), "{reason}");
    assert!(reason.contains(&format!("127.0.0.1:{port}")) && reason.contains("--port"), "{reason}");

    for (flag, value) in [
        ("--window-bytes", "nonsense"),
        ("--window-bytes", "0"),
        ("--window-messages", "0"),
        ("--max-rooms", "0"),
        ("--write-deadline", "0s"),
        ("--heartbeat", "soon"),
        ("--idle-deadline", "5"),
        ("--port", "70000"),
        ("--host", "nowhere"),
        ("--allow-host", "chat.example:3000"),
        ("--allow-origin", "null"),
    ] {
        let refused = output(binary(&format!("--port 0 {flag} {value}")).spawn().unwrap()).await;
        let reason = String::from_utf8(refused.stderr).unwrap();
        assert_eq!((refused.status.code(), refused.stdout.len()), (Some(2), 0), "{flag} {value}: {reason}");
        assert!(reason.contains(flag), "{reason}");
    }
}

#[tokio::test]
async fn the_binary_leaves_with_its_standard_input_if_it_was_told_to() {
    let (mut child, _) = started(binary("--port 0 --print-addr --exit-with-stdin").stdin(Stdio::piped())).await;
    let mut end = [0];
    let stays = timeout(Duration::from_millis(300), child.stdout.as_mut().unwrap().read(&mut end)).await;
    assert!(stays.is_err(), "it serves while its standard input is open");
    drop(child.stdin.take());
    assert_eq!(output(child).await.status.code(), Some(0));
}
