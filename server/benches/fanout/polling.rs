//! Short polls at a fixed rate: this many connections that each ask in their turn, however slow the answers are.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::crowd::{connect, is_whole};
use crate::publisher::Schedule;

/// The connections of pollers that all ask the same.
pub(crate) struct Pollers {
    streams: Vec<TcpStream>,
    question: Vec<u8>,
}

impl Pollers {
    /// Connects; the question is what comes after `GET `, with any headers beside `host`.
    pub(crate) fn connect(addr: SocketAddr, count: usize, question: &str) -> Self {
        let streams = (0..count).map(|_| connect(addr)).collect();
        Self {
            streams,
            question: format!("GET {question}\r\nhost: 127.0.0.1\r\n\r\n").into_bytes(),
        }
    }

    /// One question and its answer, on each connection; the last one's.
    pub(crate) fn ask(&mut self) -> String {
        let mut answer = Vec::new();
        for stream in &mut self.streams {
            stream.write_all(&self.question).expect("it listens");
            answer.clear();
            while !is_whole(&answer) {
                let mut piece = [0; 4096];
                let count = stream.read(&mut piece).expect("an answer");
                assert_ne!(count, 0, "an answer, and not the end");
                answer.extend_from_slice(&piece[..count]);
            }
        }
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Asks when it is due, each connection in its turn; how many empty answers came, and they must all be 304.
    pub(crate) fn window(&mut self, schedule: &Schedule) -> u64 {
        let mut buffer = vec![0; 4096];
        let mut answered = 0;
        let (mut asked, count) = (0, self.streams.len() as u64);
        while answered < schedule.count {
            while asked < schedule.due_by(Instant::now()).min(answered + count) {
                self.streams[(asked % count) as usize]
                    .write_all(&self.question)
                    .expect("it listens");
                asked += 1;
            }
            if answered == asked {
                std::thread::sleep(Duration::from_micros(20));
                continue;
            }
            // In their order: the answer that is longest under way is the next to come.
            let read = self.streams[(answered % count) as usize]
                .read(&mut buffer)
                .expect("an answer");
            assert!(
                buffer[..read].starts_with(b"HTTP/1.1 304")
                    && buffer[..read].ends_with(b"\r\n\r\n"),
                "an empty answer, whole"
            );
            answered += 1;
        }
        answered
    }
}
