//! Faults for self-tests: exactly this many deliveries dropped, doubled, swapped or corrupted; messages that come later,
//! deliveries that cost more. Only in a build with the feature `faults`, never in what is shipped.

use std::ptr;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;

use crate::answer;
use crate::cursor::Cursor;
use crate::message::Format;
use crate::rooms::Batch;

/// A fault strikes every this many batches: not all on one subscriber.
const EVERY: u64 = 7;
/// Where a text is corrupted: behind its number, within what every checksum covers.
const BAD_BYTE: usize = 10;

/// What is to go wrong on purpose.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct FaultFlags {
    /// Deliveries that are left out.
    #[arg(long, value_name = "N", default_value_t = 0, hide = true)]
    pub(crate) fault_drop: u64,
    /// Deliveries that are made twice.
    #[arg(long, value_name = "N", default_value_t = 0, hide = true)]
    pub(crate) fault_double: u64,
    /// Deliveries that come after their successor.
    #[arg(long, value_name = "N", default_value_t = 0, hide = true)]
    pub(crate) fault_swap: u64,
    /// Deliveries with a text that is not as it was sent.
    #[arg(long, value_name = "N", default_value_t = 0, hide = true)]
    pub(crate) fault_corrupt: u64,
    /// CPU time that each delivery costs on top.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, hide = true)]
    pub(crate) burn: Option<Duration>,
    /// Messages appear so much later: `20ms` all the same, `exp:20ms` exponentially distributed with this mean.
    #[arg(long, value_name = "TIME|exp:TIME", hide = true)]
    pub(crate) inject_delay: Option<Delay>,
}

/// How much later a message appears.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Delay {
    /// All by the same time.
    Const(Duration),
    /// Exponentially distributed, with this mean.
    Exp(Duration),
}

impl FromStr for Delay {
    type Err = humantime::DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("exp:") {
            Some(mean) => humantime::parse_duration(mean).map(Self::Exp),
            None => humantime::parse_duration(text).map(Self::Const),
        }
    }
}

/// What goes wrong, and how much of it is still to come.
#[derive(Debug)]
pub(crate) struct Faults {
    flags: FaultFlags,
    /// How many are still to come: dropped, doubled, swapped, corrupted.
    left: [AtomicU64; 4],
    batches: AtomicU64,
    published: AtomicU64,
}

impl Faults {
    pub(crate) fn new(flags: &FaultFlags) -> Self {
        Self {
            left: [
                flags.fault_drop,
                flags.fault_double,
                flags.fault_swap,
                flags.fault_corrupt,
            ]
            .map(Into::into),
            flags: flags.clone(),
            batches: AtomicU64::new(0),
            published: AtomicU64::new(0),
        }
    }

    /// Waits as long as the next message is to come late.
    pub(crate) async fn delay(&self) {
        const GOLDEN: f64 = 0.618_033_988_749_894_9;
        let Some(delay) = self.flags.inject_delay else {
            return;
        };
        // Multiples of the golden ratio fill (0, 1) evenly: few messages already have the distribution asked for.
        let share = ((self.published.fetch_add(1, Relaxed) as f64 + 0.5) * GOLDEN).fract();
        let delay = match delay {
            Delay::Const(delay) => delay,
            Delay::Exp(mean) => mean.mul_f64(-(1.0 - share).ln()),
        };
        // A thread's sleep: tokio's timer ticks at 1 ms, which would be part of what is to be found.
        let _ = tokio::task::spawn_blocking(move || std::thread::sleep(delay)).await;
    }

    /// One subscriber's batch with its share of what goes wrong; `None` if that is nothing.
    pub(crate) fn tamper(&self, batch: &Batch, format: &'static Format) -> Option<Bytes> {
        let (cursor, messages) = (batch.cursor, batch.messages());
        if messages.is_empty() {
            return None;
        }
        if let Some(burn) = self.flags.burn {
            let (begun, long) = (
                Instant::now(),
                burn * u32::try_from(messages.len()).unwrap_or(u32::MAX),
            );
            while begun.elapsed() < long {}
        }
        let [drop, double, swap, corrupted] = &self.left;
        if self.left.iter().all(|left| left.load(Relaxed) == 0)
            || !self.batches.fetch_add(1, Relaxed).is_multiple_of(EVERY)
        {
            return None;
        }
        let take = |left: &AtomicU64| {
            left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1))
                .is_ok()
        };
        let mut parts: Vec<(u64, Bytes)> = (cursor.seq + 1 - messages.len() as u64..)
            .zip(messages.iter().cloned())
            .collect();
        if parts.len() > 1 && take(swap) {
            parts.swap(0, 1);
        } else if take(drop) {
            parts.remove(0);
        } else if take(double) {
            parts.insert(0, parts[0].clone());
        } else if take(corrupted) {
            parts[0].1 = corrupt(&parts[0].1);
        } else {
            return None;
        }
        let all: Vec<Bytes> = parts.iter().map(|(_, message)| message.clone()).collect();
        if ptr::eq(format, &answer::BODY) {
            return Some(format.merge(cursor, &all, false).into());
        }
        // Each with the seq that is its own.
        let alone = |(seq, message): &(u64, Bytes)| {
            let cursor = Cursor {
                seq: *seq,
                ..cursor
            };
            format.merge(cursor, std::slice::from_ref(message), false)
        };
        Some(parts.iter().flat_map(alone).collect())
    }
}

fn corrupt(message: &Bytes) -> Bytes {
    const TEXT: &[u8] = br#""text":""#;
    let mut bytes = message.to_vec();
    if let Some(begin) = bytes.windows(TEXT.len()).position(|part| part == TEXT) {
        let byte = &mut bytes[begin + TEXT.len() + BAD_BYTE];
        *byte = if *byte == b'x' { b'y' } else { b'x' };
    }
    bytes.into()
}
