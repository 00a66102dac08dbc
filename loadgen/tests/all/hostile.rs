//! loadgen against a server that means harm: everything it takes in is bounded, in bytes, in time and in what it may do
//! to a terminal.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use loadgen::comparison::load;
use loadgen::result::comparison::Comparison;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::helper::{Folder, beside, program};

const HEALTH: &str = r#"{"name":"server","protocol":1}"#;
/// No log has this many messages; a walk over them takes a minute.
const FAR: u64 = 10_000_000_000;

/// A request, as far as anybody needs it here.
struct Request {
    path: String,
    key: String,
}

/// What a server does with a request on a connection; nothing more comes on it.
type Behaviour = fn(&Request, &mut TcpStream) -> std::io::Result<()>;

fn request(from: &mut BufReader<TcpStream>) -> Option<Request> {
    let (mut first, mut key, mut length) = (String::new(), String::new(), 0);
    from.read_line(&mut first).ok()?;
    loop {
        let mut line = String::new();
        if from.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let (name, value) = line.trim_end().split_once(": ").unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "sec-websocket-key" => key = value.to_owned(),
            _ if line == "\r\n" => break,
            _ => {}
        }
    }
    from.read_exact(&mut vec![0; length]).ok()?;
    Some(Request {
        path: first.split(' ').nth(1)?.to_owned(),
        key,
    })
}

/// A server that answers `/healthz` as ours does, unless it is what is tried, and all else as it likes.
fn serve(behaviour: Behaviour) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let serve = move |mut stream: TcpStream| -> std::io::Result<()> {
        let mut requests = BufReader::new(stream.try_clone()?);
        while let Some(request) = request(&mut requests) {
            behaviour(&request, &mut stream)?;
        }
        Ok(())
    };
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    addr
}

fn answer(to: &mut TcpStream, status: &str, headers: &str, body: &str) -> std::io::Result<()> {
    write!(
        to,
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A body that never ends, in pieces.
fn endless(to: &mut TcpStream, headers: &str, piece: &str) -> std::io::Result<()> {
    write!(
        to,
        "HTTP/1.1 200 OK\r\n{headers}transfer-encoding: chunked\r\n\r\n"
    )?;
    let piece = piece.repeat(64 * 1024 / piece.len());
    loop {
        write!(to, "{:x}\r\n{piece}\r\n", piece.len())?;
    }
}

/// An event stream whose first events are these, and which then rests.
fn events(to: &mut TcpStream, events: &str) -> std::io::Result<()> {
    write!(
        to,
        "HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\nevent: hello\ndata: {{\"cursor\":\"abcdefgh-0\"}}\n\n{events}"
    )?;
    std::thread::sleep(Duration::from_secs(60));
    Ok(())
}

fn upgrade(to: &mut TcpStream, request: &Request, headers: &str) -> std::io::Result<()> {
    let accept = derive_accept_key(request.key.as_bytes());
    write!(
        to,
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n{headers}sec-websocket-accept: {accept}\r\n\r\n"
    )?;
    let hello = r#"{"hello":{"cursor":"abcdefgh-0"}}"#;
    to.write_all(&[&[0x81, hello.len() as u8], hello.as_bytes()].concat())
}

/// `/healthz` as it has to be; the rest is for the behaviour.
fn healthy(request: &Request, to: &mut TcpStream) -> Option<std::io::Result<()>> {
    match request.path.as_str() {
        "/healthz" => Some(answer(to, "200 OK", "", HEALTH)),
        "/stats" => Some(answer(to, "404 Not Found", "", "")),
        _ => None,
    }
}

macro_rules! else_healthy {
    ($($path:pat => $do:expr),* $(,)?) => {
        |request: &Request, to: &mut TcpStream| match request.path.split('?').next().unwrap_or_default() {
            $($path => { let act: Behaviour = $do; act(request, to) })*
            _ => healthy(request, to).unwrap_or_else(|| answer(to, "201 Created", "", r#"{"cursor":"abcdefgh-1"}"#)),
        }
    };
}

fn message(seq: u64) -> String {
    format!(
        "id: abcdefgh-{seq}\ndata: {{\"seq\":{seq},\"from\":\"x\",\"text\":\"x\",\"at\":1}}\n\n"
    )
}

/// What is tried, the transport it is tried with, what loadgen says of it, and with which exit code.
const TABLE: &[(&str, &str, Behaviour, &str, i32)] = &[
    (
        "/healthz without an end",
        "ws",
        else_healthy!("/healthz" => |_, to| endless(to, "", "x")),
        "more than 65536 bytes",
        2,
    ),
    (
        "heads without an end",
        "ws",
        else_healthy!("/healthz" => |_, to| {
            write!(to, "HTTP/1.1 200 OK\r\n")?;
            loop {
                write!(to, "x: {}\r\n", "y".repeat(1000))?;
            }
        }),
        "no HTTP answer",
        2,
    ),
    (
        "a name that acts on the terminal",
        "ws",
        else_healthy!("/healthz" => |_, to| answer(to, "200 OK", "", "{\"name\":\"\\u001b[2J\\u009b31m\",\"protocol\":7}")),
        r"\u{1b}[2J\u{9b}31m speaks protocol 7",
        2,
    ),
    (
        "polls without an end",
        "short-poll",
        else_healthy!("/short-poll" => |_, to| endless(to, "", "x")),
        "an answer of more than 1048576 bytes",
        1,
    ),
    (
        "/stats without an end",
        "short-poll",
        else_healthy!("/stats" => |_, to| endless(to, "", "x"), "/short-poll" => |_, to| answer(to, "503 Busy", "", "")),
        "refused with 503",
        1,
    ),
    (
        "a refusal that acts on the terminal, without an end",
        "long-poll",
        else_healthy!("/long-poll" => |_, to| {
            write!(to, "HTTP/1.1 503 Busy\r\ntransfer-encoding: chunked\r\n\r\n")?;
            loop {
                write!(to, "7\r\n\u{1b}[31m\u{9b}\r\n")?;
            }
        }),
        r"refused with 503: \u{1b}[31m\u{9b}",
        1,
    ),
    (
        "a redirect of a poll",
        "short-poll",
        else_healthy!("/short-poll" => |_, to| answer(to, "302 Found", "location: http://192.0.2.1/\r\n", "")),
        "refused with 302",
        1,
    ),
    (
        "a compressed answer",
        "short-poll",
        else_healthy!("/short-poll" => |_, to| answer(to, "200 OK", "content-encoding: gzip\r\n", "x")),
        "content-encoding \"gzip\" was not offered",
        1,
    ),
    (
        "a compressed stream",
        "sse",
        else_healthy!("/sse" => |_, to| answer(to, "200 OK", "content-type: text/event-stream\r\ncontent-encoding: br\r\n", "x")),
        "content-encoding \"br\" was not offered",
        1,
    ),
    (
        "no event stream",
        "sse",
        else_healthy!("/sse" => |_, to| answer(to, "200 OK", "content-type: text/html\r\n", "<html>")),
        "has the content type \"text/html\"",
        1,
    ),
    (
        "a line without an end",
        "sse",
        else_healthy!("/sse" => |_, to| endless(to, "content-type: text/event-stream\r\n", "data: x")),
        "an event of more than 1048576 bytes",
        1,
    ),
    (
        "a message far away",
        "sse",
        else_healthy!("/sse" => |_, to| events(to, &message(FAR))),
        "a message at 10000000000, in a room",
        1,
    ),
    (
        "a gap without an end",
        "sse",
        else_healthy!("/sse" => |_, to| events(to, &format!("event: gap\ndata: {{\"reason\":\"window\",\"missed\":{FAR},\"cursor\":\"abcdefgh-{FAR}\"}}\n\n"))),
        "a gap at 10000000000, in a room",
        1,
    ),
    (
        "an ack far away",
        "sse",
        else_healthy!("/sse" => |_, to| events(to, ""), "/messages" => |_, to| answer(to, "201 Created", "", &format!("{{\"cursor\":\"abcdefgh-{FAR}\"}}"))),
        "an ack for message 10000000000, in a room",
        1,
    ),
    (
        "a cursor beyond every number",
        "sse",
        else_healthy!("/sse" => |_, to| events(to, ""), "/messages" => |_, to| answer(to, "201 Created", "", &format!("{{\"cursor\":\"abcdefgh-{}\"}}", u64::MAX))),
        "is not a cursor",
        1,
    ),
    (
        "an ack without an end",
        "sse",
        else_healthy!("/sse" => |_, to| events(to, ""), "/messages" => |_, to| endless(to, "", "x")),
        "publishing: protocol, such as: an answer of more than 1048576 bytes",
        1,
    ),
    (
        "a reason that acts on the terminal",
        "sse",
        else_healthy!("/sse" => |_, to| events(to, "event: gap\ndata: {\"reason\":\"\\u001b]0;x\\u0007\",\"cursor\":\"abcdefgh-0\"}\n\n")),
        r"unknown variant `\u{1b}]0;x\u{7}`",
        1,
    ),
    (
        "a stream that ends after its hello",
        "sse",
        else_healthy!("/sse" => |_, to| answer(to, "200 OK", "content-type: text/event-stream\r\n", "event: hello\ndata: {\"cursor\":\"abcdefgh-0\"}\n\n")),
        "(connection: the stream ended)",
        1,
    ),
    (
        "a stream that ends a while after its hello",
        "sse --clients 60",
        else_healthy!("/sse" => |_, to| {
            let hello = "event: hello\ndata: {\"cursor\":\"abcdefgh-0\"}\n\n";
            write!(to, "HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{hello}")?;
            std::thread::sleep(Duration::from_millis(100));
            to.shutdown(Shutdown::Both)
        }),
        "no client keeps its connection",
        1,
    ),
    (
        "an extension that nobody offered",
        "ws",
        else_healthy!("/ws" => |request, to| upgrade(to, request, "sec-websocket-extensions: permessage-deflate\r\n")),
        "the extension \"permessage-deflate\" was not offered",
        1,
    ),
    (
        "a frame of a gigabyte",
        "ws",
        else_healthy!("/ws" => |request, to| {
            upgrade(to, request, "")?;
            to.write_all(&[&[0x81, 127][..], &(1_u64 << 30).to_be_bytes()].concat())?;
            loop {
                to.write_all(&[b'x'; 65536])?;
            }
        }),
        "Message too long: 1073741824 > 1048576",
        1,
    ),
    (
        "fragments without an end",
        "ws",
        else_healthy!("/ws" => |request, to| {
            upgrade(to, request, "")?;
            to.write_all(&[&[0x01, 126, 0xff, 0xff][..], &[b'x'; 65535]].concat())?;
            loop {
                to.write_all(&[&[0x00, 126, 0xff, 0xff][..], &[b'x'; 65535]].concat())?;
            }
        }),
        "Message too long",
        1,
    ),
    (
        "an ack for nothing",
        "ws",
        else_healthy!("/ws" => |request, to| {
            upgrade(to, request, "")?;
            let ack = r#"{"ack":{"cursor":"abcdefgh-1"}}"#;
            to.write_all(&[&[0x81, ack.len() as u8], ack.as_bytes()].concat())
        }),
        "an ack for nothing",
        1,
    ),
];

/// A short load, so that what is not noticed at once is seen at the end.
const LOAD: &str =
    "--room-size all --publishers 1 --rate 5 --interval 50ms --warmup 0s --duration 1s";
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs loadgen in two gigabytes of address space, and until the deadline.
fn bounded(arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    let script = format!(
        "ulimit -v 2000000 && exec timeout -s KILL {} \"$@\"",
        DEADLINE.as_secs()
    );
    command
        .args(["-c", &script, "sh", program()])
        .args(arguments);
    command.stdin(Stdio::null());
    command
}

/// Nothing that moves a cursor, but for the ends of lines.
fn is_plain(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() && c != '\n')
}

fn attempt(row: usize) -> Result<(), String> {
    let (what, mode, behaviour, says, exit) = TABLE[row];
    let (addr, folder) = (serve(behaviour), Folder::new(&format!("hostile-{row}")));
    let (url, out) = (format!("http://{addr}"), folder.0.join("out"));
    let flags = [
        LOAD,
        if mode.contains(' ') {
            "--mode"
        } else {
            "--clients 2 --mode"
        },
        mode,
    ]
    .into_iter()
    .flat_map(|flags| flags.split(' '));
    let arguments = flags.chain(["--url", &url, "--out", out.to_str().unwrap()]);
    let begun = Instant::now();
    let output = bounded(&arguments.collect::<Vec<_>>()).output().unwrap();
    let (time, code) = (begun.elapsed(), output.status.code());
    let texts =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let said = texts.concat();
    if code != Some(exit) || !said.contains(says) || time > DEADLINE || said.contains("panicked") {
        return Err(format!(
            "{what}: after {time:?} {code:?}, without {says:?}:\n{said}"
        ));
    }
    let reports = ["comparison.json", "comparison.md", "comparison.html"]
        .map(|name| std::fs::read_to_string(out.join(name)));
    match texts
        .iter()
        .cloned()
        .chain(reports.into_iter().flatten())
        .find(|text| !is_plain(text))
    {
        Some(text) => Err(format!("{what}: a control character is left in {text:?}")),
        None => Ok(()),
    }
}

#[test]
fn whatever_a_server_does_it_is_told_soon_and_in_plain_text() {
    let _turn = beside();
    let next = Arc::new(AtomicUsize::new(0));
    let worker = |_| {
        let next = Arc::clone(&next);
        std::thread::spawn(move || {
            let rows = std::iter::repeat_with(|| next.fetch_add(1, Relaxed))
                .take_while(|row| *row < TABLE.len());
            rows.filter_map(|row| attempt(row).err())
                .collect::<Vec<String>>()
        })
    };
    let workers: Vec<_> = (0..8).map(worker).collect();
    let wrong: Vec<String> = workers
        .into_iter()
        .flat_map(|worker| worker.join().unwrap())
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn a_redirect_of_healthz_is_not_followed() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    static ELSEWHERE: std::sync::OnceLock<SocketAddr> = std::sync::OnceLock::new();
    ELSEWHERE.get_or_init(|| {
        serve(|_, to| {
            ASKED.fetch_add(1, Relaxed);
            answer(to, "200 OK", "", HEALTH)
        })
    });
    let addr = serve(|_, to| {
        answer(
            to,
            "307 Elsewhere",
            &format!("location: http://{}/healthz\r\n", ELSEWHERE.get().unwrap()),
            "",
        )
    });
    let output = bounded(&["--mode", "ws", "--url", &format!("http://{addr}")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("sends /healthz on to http://127.0.0.1:") && said.contains("--url"),
        "{said}"
    );
    assert_eq!(ASKED.load(Relaxed), 0, "nobody else was asked");
}

#[test]
fn a_file_that_speaks_of_more_blocks_than_there_can_be_is_refused_at_once() {
    let folder = Folder::new("blocks");
    let reference = concat!(env!("CARGO_MANIFEST_DIR"), "/../results/reference");
    assert!(load(reference.as_ref()).is_ok());
    let text = std::fs::read_to_string(format!("{reference}/comparison.json")).unwrap();
    let scheduled = text.split("\"scheduled\":").nth(1).unwrap();
    let scheduled = format!("\"scheduled\":{},", scheduled.split(',').next().unwrap());
    let Comparison {
        blocks, scenario, ..
    } = load(reference.as_ref()).unwrap();
    let duration = format!(
        "\"duration_seconds\":{:?}",
        scenario.duration().as_secs_f64()
    );
    for (from, to, says) in [
        (
            &*format!("\"blocks\":{blocks},"),
            "\"blocks\":1000000000000000,",
            "blocks is 1000000000000000; it must be from 1 to 1000",
        ),
        (&duration, "\"duration_seconds\":1e15", "duration is"),
        (
            &scheduled,
            "\"scheduled\":18446744073709551615,",
            "scheduled is 18446744073709551615",
        ),
    ] {
        std::fs::write(folder.0.join("comparison.json"), text.replacen(from, to, 1)).unwrap();
        let begun = Instant::now();
        let output = bounded(&["report", folder.0.to_str().unwrap()])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{to}: {said}");
        assert!(
            said.contains(says) && begun.elapsed() < DEADLINE,
            "{to}: {said}"
        );
    }
}
