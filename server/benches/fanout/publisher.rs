//! Publishing over a socket, on a clock that does not wait for anybody.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::crowd::{Way, connect};

/// When each message of a window is due: at a fixed rate, counted from its start.
#[derive(Clone, Copy)]
pub(crate) struct Schedule {
    start: Instant,
    period: Duration,
    pub(crate) count: u64,
}

impl Schedule {
    /// `rate` messages a second for this long, from a moment on.
    pub(crate) fn new(rate: u32, time: Duration) -> Self {
        let period = Duration::from_secs(1) / rate;
        let count = (time.as_nanos() / period.as_nanos()) as u64;
        Self {
            start: Instant::now() + Duration::from_millis(20),
            period,
            count,
        }
    }

    fn due(&self, n: u64) -> Instant {
        self.start + self.period * u32::try_from(n).expect("a window is short")
    }

    /// When the last message has been due for a period.
    pub(crate) fn end(&self) -> Instant {
        self.due(self.count)
    }

    /// How many messages have been due by now.
    pub(crate) fn due_by(&self, now: Instant) -> u64 {
        let since = now.checked_duration_since(self.start);
        since.map_or(0, |since| {
            ((since.as_nanos() / self.period.as_nanos()) as u64 + 1).min(self.count)
        })
    }

    /// How late message `n` is by now, in microseconds.
    pub(crate) fn late(&self, n: u64, now: Instant) -> u64 {
        now.saturating_duration_since(self.due(n)).as_micros() as u64
    }
}

/// A connection that publishes.
pub(crate) struct Publisher {
    stream: TcpStream,
    message: Vec<u8>,
}

impl Publisher {
    /// Publishes over `/ws`; the message is of this many bytes once the server has encoded it (while `seq` has 4 digits).
    pub(crate) fn to_server(addr: SocketAddr, encoded: usize) -> Self {
        let mut stream = connect(addr);
        stream
            .write_all(Way::Ws.open().as_bytes())
            .expect("it listens");
        let envelope = br#"{"seq":1000,"from":"b","text":"","at":1763900000000}"#.len();
        let draft = format!(
            r#"{{"from":"b","text":"{}"}}"#,
            "x".repeat(encoded - envelope)
        );
        // Masked with zeros: RFC 6455 asks for a mask, not for a secret one.
        let message = [
            frame_head(draft.len(), 0x80),
            vec![0; 4],
            draft.into_bytes(),
        ]
        .concat();
        stream.set_nonblocking(true).expect("a socket");
        Self { stream, message }
    }

    /// The frame that a server would send for such a message, for the floor to pass on as it is.
    pub(crate) fn to_floor(addr: SocketAddr, encoded: usize) -> Self {
        let message = format!(r#"{{"seq":1000,{:x<1$}}}"#, "", encoded - 13);
        let stream = connect(addr);
        stream.set_nonblocking(true).expect("a socket");
        Self {
            stream,
            message: [frame_head(encoded, 0), message.into_bytes()].concat(),
        }
    }

    /// Publishes a window's messages, each when it is due, on a thread of its own.
    pub(crate) fn publish(mut self, schedule: Schedule) -> JoinHandle<Self> {
        std::thread::spawn(move || {
            let mut answers = vec![0; 1 << 16];
            for n in 0..schedule.count {
                std::thread::sleep(schedule.due(n).saturating_duration_since(Instant::now()));
                self.send();
                // Acks, and its own messages.
                while matches!(self.stream.read(&mut answers), Ok(count) if count == answers.len())
                {
                }
            }
            self
        })
    }

    fn send(&mut self) {
        let mut rest = &self.message[..];
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(error) => panic!("cannot publish: {error}"),
            }
        }
    }
}

/// RFC 6455 section 5.2: a final text frame of this length.
fn frame_head(length: usize, mask: u8) -> Vec<u8> {
    match u8::try_from(length) {
        Ok(short @ ..126) => vec![0x81, mask | short],
        _ => {
            let length = u16::try_from(length).expect("a short message");
            [&[0x81, mask | 126][..], &length.to_be_bytes()].concat()
        }
    }
}
