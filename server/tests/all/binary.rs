//! The binary as others start it: its address, its exit codes, what it says about its flags.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::time::timeout;

use crate::helper::Api;
use crate::program::{binary, output, signal, started};
use crate::raw::{PATIENCE, RawWs};

#[tokio::test]
async fn the_binary_prints_its_address_and_nothing_else_and_sigterm_ends_it_with_0() {
    for name in [Signal::TERM, Signal::INT] {
        let (child, line) = started(&mut binary("--port 0 --print-addr")).await;
        let addr = line
            .strip_suffix('\n')
            .expect("a whole line")
            .parse()
            .expect("an address and nothing else");
        assert_eq!(
            line,
            format!("127.0.0.1:{}\n", std::net::SocketAddr::port(&addr))
        );
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
    let refused = output(
        binary(&format!("--print-addr --port {port}"))
            .spawn()
            .unwrap(),
    )
    .await;
    let reason = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(
        (
            refused.status.code(),
            refused.stdout.len(),
            reason.lines().count()
        ),
        (Some(2), 0, 1),
        "{reason}"
    );
    assert!(
        reason.contains(&format!("127.0.0.1:{port}")) && reason.contains("--port"),
        "{reason}"
    );

    for (flag, value) in [
        ("--retain-bytes", "nonsense"),
        ("--retain-bytes", "0"),
        ("--retain-messages", "0"),
        ("--max-rooms", "0"),
        ("--write-deadline", "0s"),
        ("--heartbeat", "soon"),
        ("--idle-deadline", "5"),
        ("--port", "70000"),
        ("--host", "nowhere.invalid"),
        ("--host", "http://localhost"),
        ("--host", "localhost:3000"),
        ("--host", ""),
        ("--allow-host", "chat.example:3000"),
        ("--allow-origin", "null"),
    ] {
        let refused = output(binary("--port 0").args([flag, value]).spawn().unwrap()).await;
        let reason = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(
            (refused.status.code(), refused.stdout.len()),
            (Some(2), 0),
            "{flag} {value}: {reason}"
        );
        assert!(reason.contains(flag), "{reason}");
    }
}

#[tokio::test]
async fn the_address_that_is_printed_can_be_opened_whatever_the_host() {
    // Not every machine has the newer family.
    let six = std::net::TcpListener::bind("[::1]:0").is_ok();
    for (host, printed, said) in [
        ("localhost", "127.0.0.1:", "http://localhost:"),
        ("0.0.0.0", "127.0.0.1:", "http://127.0.0.1:"),
        ("127.0.0.2", "127.0.0.2:", "http://127.0.0.2:"),
        ("::1", "[::1]:", "http://[::1]:"),
        ("[::1]", "[::1]:", "http://[::1]:"),
        ("::", "[::1]:", "http://[::1]:"),
    ] {
        if host.contains("::") && !six {
            continue;
        }
        let (child, line) =
            started(&mut binary(&format!("--port 0 --print-addr --host {host}"))).await;
        assert!(line.starts_with(printed), "{host}: {line}");
        let api = Api::at(line.trim().parse().expect("an address and nothing else"));
        assert_eq!(api.get("/healthz").await.status, 200, "{host}");
        signal(&child, Signal::TERM);
        output(child).await;

        let mut child = binary(&format!("--port 0 --host {host}")).spawn().unwrap();
        let mut line = String::new();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        timeout(PATIENCE, stderr.read_line(&mut line))
            .await
            .expect("it says where it is")
            .unwrap();
        assert!(
            line.starts_with(&format!("server: the demo pages are at {said}")),
            "{host}: {line}"
        );
        let url = line
            .split([' ', ';', '\n'])
            .find(|word| word.starts_with("http://"))
            .expect("a URL");
        assert_eq!(
            reqwest::get(url).await.expect("it can be opened").status(),
            200,
            "{line}"
        );
        assert_eq!(
            line.contains("every address"),
            ["::", "0.0.0.0"].contains(&host),
            "{line}"
        );
        signal(&child, Signal::TERM);
        output(child).await;
    }
}

#[tokio::test]
async fn the_binary_leaves_with_its_standard_input_if_it_was_told_to() {
    let (mut child, _) =
        started(binary("--port 0 --print-addr --exit-with-stdin").stdin(Stdio::piped())).await;
    let mut end = [0];
    let stays = timeout(
        Duration::from_millis(300),
        child.stdout.as_mut().unwrap().read(&mut end),
    )
    .await;
    assert!(stays.is_err(), "it serves while its standard input is open");
    drop(child.stdin.take());
    assert_eq!(output(child).await.status.code(), Some(0));
}
