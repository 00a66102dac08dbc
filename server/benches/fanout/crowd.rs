//! Many subscribers on one core: every connection is read when it has something, and each message's lateness taken.

use std::borrow::Cow;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::Timespec;

use crate::framing::{Framing, Position};
use crate::publisher::Schedule;

/// What a reader takes at a time: more than a socket holds.
const BUFFER: usize = 1 << 20;
/// Lateness is taken from one in this many subscribers, all over the order in which they connected.
const SAMPLED: usize = 8;

/// How a subscriber speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    Ws,
    Sse,
    LongPoll,
}

impl Way {
    /// The request that subscribes.
    pub(crate) fn open(self) -> String {
        let common = "host: 127.0.0.1\r\n";
        match self {
            Self::Ws => format!(
                "GET /ws?after=latest HTTP/1.1\r\n{common}connection: Upgrade\r\nupgrade: websocket\r\n\
                 sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            ),
            Self::Sse => format!("GET /sse?after=latest HTTP/1.1\r\n{common}\r\n"),
            Self::LongPoll => format!("GET /long-poll?after=latest HTTP/1.1\r\n{common}\r\n"),
        }
    }
}

/// The subscribers of one server.
pub(crate) struct Crowd {
    way: Way,
    framing: Framing,
    epoll: OwnedFd,
    peers: Vec<Peer>,
    events: Vec<Event>,
    buffer: Vec<u8>,
}

struct Peer {
    stream: TcpStream,
    position: Position,
    /// Messages of the window under way.
    seen: u64,
    /// What of a poll's answer has come.
    answer: Vec<u8>,
}

/// What a window brought.
pub(crate) struct Window {
    pub(crate) deliveries: u64,
    /// Those that were there when the last message had been due.
    pub(crate) in_time: u64,
    /// Received minus due, in microseconds.
    pub(crate) lateness: Histogram<u64>,
}

impl Crowd {
    /// Connects this many, and waits until each has had its first answer.
    pub(crate) fn connect(addr: SocketAddr, way: Way, count: usize) -> Self {
        let framing = if way == Way::Ws {
            Framing::Frames
        } else {
            Framing::text()
        };
        let epoll = epoll::create(CreateFlags::CLOEXEC).expect("an epoll");
        let mut crowd = Self {
            way,
            framing,
            epoll,
            peers: Vec::new(),
            events: Vec::with_capacity(1024),
            buffer: vec![0; BUFFER],
        };
        for token in 0..count {
            let mut stream = connect(addr);
            stream.write_all(way.open().as_bytes()).expect("it listens");
            let head = read_head(&mut stream);
            stream.set_nonblocking(true).expect("a socket");
            let data = EventData::new_u64(token as u64);
            epoll::add(&crowd.epoll, &stream, data, EventFlags::IN).expect("a socket");
            crowd.peers.push(Peer {
                stream,
                position: Position::default(),
                seen: 0,
                answer: Vec::new(),
            });
            if way == Way::LongPoll {
                crowd.peers[token].asks(&head);
            }
        }
        crowd
    }

    pub(crate) fn len(&self) -> usize {
        self.peers.len()
    }

    /// Reads for this long, whatever comes: heartbeats, the hello.
    pub(crate) fn settle(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            self.wait(left);
            for i in 0..self.events.len() {
                let token = self.events[i].data.u64() as usize;
                self.read(token);
            }
        }
        self.peers.iter_mut().for_each(|peer| peer.seen = 0);
    }

    /// Reads while a schedule is published, until everything is there or nobody may wait any longer.
    pub(crate) fn window(&mut self, schedule: &Schedule, patience: Duration) -> Window {
        let expected = schedule.count * self.peers.len() as u64;
        let lateness = Histogram::new_with_bounds(1, 60_000_000, 3).expect("valid bounds");
        let mut window = Window {
            deliveries: 0,
            in_time: 0,
            lateness,
        };
        while window.deliveries < expected && Instant::now() < schedule.end() + patience {
            self.wait(Duration::from_millis(50));
            for i in 0..self.events.len() {
                let token = self.events[i].data.u64() as usize;
                let before = self.peers[token].seen;
                let new = self.read(token);
                let now = Instant::now();
                window.deliveries += new;
                window.in_time += if now <= schedule.end() { new } else { 0 };
                if token.is_multiple_of(SAMPLED) {
                    for n in before..before + new {
                        window.lateness.saturating_record(schedule.late(n, now));
                    }
                }
            }
        }
        self.peers.iter_mut().for_each(|peer| peer.seen = 0);
        window
    }

    fn wait(&mut self, most: Duration) {
        self.events.clear();
        let most = Timespec::try_from(most).expect("a short time");
        let found = epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut self.events),
            Some(&most),
        );
        assert!(
            found.is_ok() || found == Err(rustix::io::Errno::INTR),
            "{found:?}"
        );
    }

    /// Takes what there is on one connection; how many messages it held.
    fn read(&mut self, token: usize) -> u64 {
        let peer = &mut self.peers[token];
        let count = match peer.stream.read(&mut self.buffer) {
            Ok(0) => panic!("the server closed connection {token}"),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return 0,
            Err(error) => panic!("connection {token}: {error}"),
        };
        let read = &self.buffer[..count];
        let new = self.framing.count(&mut peer.position, read);
        peer.seen += new;
        if self.way == Way::LongPoll {
            peer.answer.extend_from_slice(read);
            if is_whole(&peer.answer) {
                let answer = std::mem::take(&mut peer.answer);
                peer.asks(&answer);
            }
        }
        new
    }
}

impl Peer {
    /// The next question of a long poll, after the cursor of an answer.
    fn asks(&mut self, answer: &[u8]) {
        let cursor = cursor_of(answer);
        let question =
            format!("GET /long-poll?after={cursor}&wait=60s HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
        self.stream
            .write_all(question.as_bytes())
            .expect("it fits into an empty socket");
    }
}

/// A connection on which nothing waits to be sent.
pub(crate) fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("a connection");
    stream.set_nodelay(true).expect("a TCP socket");
    stream
}

/// The cursor in an answer of a poll.
pub(crate) fn cursor_of(answer: &[u8]) -> Cow<'_, str> {
    let start = memchr::memmem::find(answer, br#""cursor":""#).expect("a cursor") + 10;
    let length = memchr::memchr(b'"', &answer[start..]).expect("the end of a cursor");
    String::from_utf8_lossy(&answer[start..start + length])
}

/// Whether an answer of a poll has all its bytes.
pub(crate) fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = memchr::memmem::find(answer, b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    answer.len() >= end + 4 + length.unwrap_or(0)
}

/// The head of an answer, and the body if its length is told; not a byte of what follows.
fn read_head(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut byte = [0];
    while !is_whole(&answer) {
        stream.read_exact(&mut byte).expect("an answer");
        answer.push(byte[0]);
    }
    answer
}
