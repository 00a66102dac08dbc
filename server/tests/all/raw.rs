//! Clients of raw bytes: they send what no library would, and see every byte of what comes back.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use socket2::{SockFilter, SockRef};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// Longer than any deadline a test sets: what has not come by then does not come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8a;

/// A connection, with what has arrived and was not yet asked for.
pub(crate) struct Raw {
    stream: TcpStream,
    arrived: Vec<u8>,
}

/// The answer to one HTTP request.
#[derive(Debug)]
pub(crate) struct RawAnswer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Raw {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.expect("the server listens");
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            arrived: Vec::new(),
        }
    }

    /// `None` if nobody listens.
    pub(crate) async fn try_connect(addr: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(addr).await.ok()?;
        Some(Self {
            stream,
            arrived: Vec::new(),
        })
    }

    /// With a receive buffer that does not grow, so that a peer that stops reading is soon noticed.
    pub(crate) async fn connect_narrow(addr: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        Self {
            stream: socket.connect(addr).await.expect("the server listens"),
            arrived: Vec::new(),
        }
    }

    /// From now on its kernel takes nothing and acknowledges nothing: for the server, the network ends here.
    pub(crate) fn fall_silent(&self) {
        // The classic filter "return 0": no byte of any packet passes.
        let nothing = SockFilter::new(0x06, 0, 0, 0);
        SockRef::from(&self.stream)
            .attach_filter(&[nothing])
            .expect("a filter needs no privileges");
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream
            .write_all(bytes.as_ref())
            .await
            .expect("the server takes it");
    }

    /// Waits until the server has read all that was sent: the next bytes are a read of their own.
    pub(crate) async fn until_read(&self) {
        let port = |addr: std::io::Result<SocketAddr>| {
            format!(":{:04X}", addr.expect("it is connected").port())
        };
        let (near, far) = (
            port(self.stream.local_addr()),
            port(self.stream.peer_addr()),
        );
        let under_way = |line: &str| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let is = |from: &str, to: &str| fields[1].ends_with(from) && fields[2].ends_with(to);
            // Hexadecimal: what is not acknowledged, and what is not read.
            let (unsent, unread) = fields[4].split_once(':').unwrap_or_default();
            (is(&near, &far) && unsent != "00000000") || (is(&far, &near) && unread != "00000000")
        };
        let sockets = || std::fs::read_to_string("/proc/net/tcp").expect("this is Linux");
        let read = async {
            while sockets().lines().any(under_way) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, read).await.expect("the server reads it");
    }

    /// Ends the connection as a network does that breaks: with a reset, whatever was read or not.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().expect("it is a socket");
    }

    /// Ends this side: it sends no more, and reads on.
    pub(crate) async fn half_close(&mut self) {
        self.stream
            .shutdown()
            .await
            .expect("the connection is open");
    }

    /// Reads on to the end of this text.
    pub(crate) async fn until(&mut self, text: &str) {
        let mut searched = 0;
        let end = loop {
            if let Some(at) = memchr::memmem::find(&self.arrived[searched..], text.as_bytes()) {
                break searched + at + text.len();
            }
            searched = self.arrived.len().saturating_sub(text.len());
            assert!(self.more().await, "the end, before {text:?}");
        };
        self.arrived.drain(..end);
    }

    /// Reads until nothing more comes for a while.
    pub(crate) async fn take_what_is_there(&mut self) {
        while let Ok(Ok(1..)) = timeout(
            Duration::from_millis(50),
            self.stream.read_buf(&mut self.arrived),
        )
        .await
        {}
    }

    /// Whether the connection still takes something.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Sends what the server takes within a moment.
    pub(crate) async fn push(mut self, bytes: &[u8]) -> Self {
        let _ = timeout(Duration::from_millis(500), self.try_send(bytes)).await;
        self
    }

    /// Sends a byte now and then until the connection has ended.
    pub(crate) async fn drip(&mut self) {
        let drip = async {
            while self.try_send("x").await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, drip)
            .await
            .expect("a byte now and then does not keep a connection");
    }

    pub(crate) async fn get(&mut self, path: &str) -> RawAnswer {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"))
            .await;
        self.answer().await.expect("an answer")
    }

    /// Waits for more; false at the end, however it came.
    async fn more(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.arrived)).await;
        read.expect("neither bytes nor an end")
            .is_ok_and(|count| count > 0)
    }

    /// Reads this many bytes and no more.
    pub(crate) async fn skip(&mut self, count: usize) {
        self.take(count).await.expect("so much comes");
    }

    /// Reads this many bytes; `None` if the connection ended before.
    pub(crate) async fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.arrived.len() < count {
            if !self.more().await {
                return None;
            }
        }
        Some(self.arrived.drain(..count).collect())
    }

    /// The head of the next answer, in lower case: to a HEAD nothing follows. `None` if the connection ended instead.
    pub(crate) async fn head(&mut self) -> Option<String> {
        let end = loop {
            if let Some(at) = self.arrived.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more().await {
                return None;
            }
        };
        Some(
            String::from_utf8(self.take(end).await?)
                .expect("a head is ASCII")
                .to_lowercase(),
        )
    }

    /// The next answer; `None` if the connection ended instead.
    pub(crate) async fn answer(&mut self) -> Option<RawAnswer> {
        let head = self.head().await?;
        let length = head
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.lines().next());
        let body = self
            .take(length.map_or(0, |length| length.parse().unwrap()))
            .await?;
        Some(RawAnswer {
            status: head[9..12].parse().unwrap(),
            head,
            body: String::from_utf8(body).unwrap(),
        })
    }

    /// Reads to the end of the connection, which has to be one and no break; all that came.
    pub(crate) async fn read_to_end(mut self) -> String {
        let read = timeout(PATIENCE, self.stream.read_to_end(&mut self.arrived)).await;
        read.expect("it ends").expect("it ends and does not break");
        String::from_utf8(self.arrived).expect("UTF-8")
    }

    /// Reads until the connection ends; how many bytes came.
    pub(crate) async fn rest(&mut self) -> usize {
        while self.more().await {}
        std::mem::take(&mut self.arrived).len()
    }
}

/// A WebSocket client that frames by hand.
pub(crate) struct RawWs(pub(crate) Raw);

/// A frame as it came: its first byte, and its payload.
#[derive(Debug, PartialEq)]
pub(crate) struct RawFrame {
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

impl RawFrame {
    pub(crate) fn text(&self) -> &str {
        assert_eq!(self.first, TEXT, "a text frame: {self:?}");
        std::str::from_utf8(&self.payload).expect("UTF-8")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(self.text()).expect("JSON")
    }
}

/// A handshake as RFC 6455 section 1.2 has it, with one header replaced.
pub(crate) fn handshake(query: &str, name: &str, value: &str) -> String {
    let mut request = format!("GET /ws{query} HTTP/1.1\r\nhost: test\r\n");
    for (header, default) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ] {
        let value = if header == name { value } else { default };
        request.push_str(&format!("{header}: {value}\r\n"));
    }
    request + "\r\n"
}

impl RawWs {
    pub(crate) async fn open(addr: SocketAddr, query: &str) -> Self {
        Self::over(Raw::connect(addr).await, query).await
    }

    pub(crate) async fn over(raw: Raw, query: &str) -> Self {
        Self::try_over(raw, query).await.expect("it is let in")
    }

    /// `None` if it is refused.
    pub(crate) async fn try_over(raw: Raw, query: &str) -> Option<Self> {
        Self::begin(raw, &handshake(query, "", "")).await
    }

    /// With a handshake of one's own; `None` if it is refused.
    pub(crate) async fn begin(mut raw: Raw, handshake: &str) -> Option<Self> {
        raw.send(handshake).await;
        let answer = raw.answer().await.expect("an answer");
        if answer.status == 503 {
            return None;
        }
        assert_eq!(answer.status, 101, "{answer:?}");
        assert!(
            answer
                .head
                .contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
            "{answer:?}"
        );
        Some(Self(raw))
    }

    /// Sends a frame, masked as a client must.
    pub(crate) async fn send(&mut self, first: u8, payload: impl AsRef<[u8]>) {
        assert!(self.try_send(first, payload).await, "the server takes it");
    }

    /// Whether the connection still takes a frame.
    pub(crate) async fn try_send(&mut self, first: u8, payload: impl AsRef<[u8]>) -> bool {
        let mask = [7, 99, 200, 31];
        let mut frame = header(first, payload.as_ref().len() as u64, true);
        frame.extend(mask);
        frame.extend(
            payload
                .as_ref()
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );
        self.0.try_send(frame).await
    }

    pub(crate) async fn say(&mut self, json: &Value) {
        self.send(TEXT, json.to_string()).await;
    }

    /// The next frame but for the heartbeat; `None` if the connection ended instead.
    pub(crate) async fn frame(&mut self) -> Option<RawFrame> {
        loop {
            let frame = self.any_frame().await?;
            if frame.first != PING {
                return Some(frame);
            }
        }
    }

    pub(crate) async fn any_frame(&mut self) -> Option<RawFrame> {
        let start = self.0.take(2).await?;
        assert_eq!(start[1] & 0x80, 0, "a server does not mask");
        let length = match start[1] {
            126 => self
                .0
                .take(2)
                .await?
                .iter()
                .fold(0, |length, &byte| length << 8 | usize::from(byte)),
            127 => self
                .0
                .take(8)
                .await?
                .iter()
                .fold(0, |length, &byte| length << 8 | usize::from(byte)),
            short => usize::from(short),
        };
        Some(RawFrame {
            first: start[0],
            payload: self.0.take(length).await?,
        })
    }

    pub(crate) async fn next(&mut self) -> RawFrame {
        self.frame().await.expect("a frame, not a bare end")
    }

    pub(crate) async fn json(&mut self) -> Value {
        self.next().await.json()
    }

    /// The cursor of the hello, which is the first frame.
    pub(crate) async fn hello(&mut self) -> String {
        let hello = self.json().await;
        hello["hello"]["cursor"]
            .as_str()
            .unwrap_or_else(|| panic!("a hello first, not {hello}"))
            .to_owned()
    }

    /// Reads on to the close frame: its code, and that nothing but the end follows.
    pub(crate) async fn close_code(&mut self) -> u16 {
        loop {
            let frame = self.next().await;
            if frame.first == CLOSE {
                assert!(
                    self.frame().await.is_none(),
                    "nothing follows a close frame"
                );
                return u16::from_be_bytes(frame.payload[..2].try_into().unwrap());
            }
        }
    }
}

/// The header of a frame, for a payload that need not exist.
pub(crate) fn header(first: u8, length: u64, masked: bool) -> Vec<u8> {
    let mask = if masked { 0x80 } else { 0 };
    let mut header = vec![first];
    match length {
        0..126 => header.push(mask | length as u8),
        126..0x1_0000 => {
            header.push(mask | 126);
            header.extend((length as u16).to_be_bytes());
        }
        _ => {
            header.push(mask | 127);
            header.extend(length.to_be_bytes());
        }
    }
    header
}
