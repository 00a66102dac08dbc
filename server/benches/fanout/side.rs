//! One side of a comparison: a process, its subscribers, and windows in which it is published to.

use std::time::Duration;

use crate::child::{Cores, Measured};
use crate::crowd::{Crowd, Way, Window};
use crate::polling::Pollers;
use crate::publisher::{Publisher, Schedule};
use crate::section::{MESSAGE, Size};
use crate::spread::Spread;

/// After its window a message may come so late.
const PATIENCE: Duration = Duration::from_secs(5);

/// One side of a comparison: a process, its subscribers, and a way to publish to them.
pub(crate) struct Side {
    pub(crate) process: Measured,
    pub(crate) crowd: Crowd,
    pub(crate) publisher: Option<Publisher>,
}

/// What a window cost and brought.
pub(crate) struct Cost {
    /// Microseconds of the process's CPU for each delivery.
    pub(crate) cpu: f64,
    pub(crate) window: Window,
}

impl Side {
    pub(crate) fn server(cores: &Cores, way: Way, count: usize) -> Self {
        Self::server_with(cores, way, count, &[])
    }

    /// With these flags.
    pub(crate) fn server_with(cores: &Cores, way: Way, count: usize, flags: &[&str]) -> Self {
        let process = Measured::server_with(cores, flags);
        let crowd = Crowd::connect(process.addr, way, count);
        let publisher = Publisher::to_server(process.addr, MESSAGE);
        Self {
            process,
            crowd,
            publisher: Some(publisher),
        }
        .settled()
    }

    pub(crate) fn floor(cores: &Cores, count: usize) -> Self {
        let process = Measured::part(cores, "part-floor");
        let crowd = Crowd::connect(process.addr, Way::Ws, count);
        let publisher = Publisher::to_floor(process.addr, MESSAGE);
        Self {
            process,
            crowd,
            publisher: Some(publisher),
        }
        .settled()
    }

    pub(crate) fn settled(mut self) -> Self {
        self.crowd.settle(Duration::from_millis(300));
        self
    }

    pub(crate) fn window(&mut self, rate: u32, time: Duration) -> Cost {
        let before = self.process.cpu();
        let schedule = Schedule::new(rate, time);
        let publisher = self
            .publisher
            .take()
            .expect("it comes back")
            .publish(schedule);
        let window = self.crowd.window(&schedule, PATIENCE);
        self.publisher = Some(publisher.join().expect("the publisher"));
        assert!(window.deliveries > 0, "nothing was delivered");
        let cpu = (self.process.cpu() - before) as f64 / 1000.0 / window.deliveries as f64;
        self.crowd.settle(Duration::from_millis(20));
        Cost { cpu, window }
    }
}

/// Windows of both sides in turn; the cost of each.
pub(crate) fn pairs(a: &mut Side, b: &mut Side, rate: u32, size: &Size) -> Vec<(Cost, Cost)> {
    // The first of each warms up: caches, allocators, connections that were just made.
    a.window(rate, size.window / 2);
    b.window(rate, size.window / 2);
    let pair = |i| {
        if i % 2 == 0 {
            let first = a.window(rate, size.window);
            (first, b.window(rate, size.window))
        } else {
            let first = b.window(rate, size.window);
            (a.window(rate, size.window), first)
        }
    };
    (0..size.pairs).map(pair).collect()
}

pub(crate) fn ratio(pairs: &[(Cost, Cost)]) -> Spread {
    Spread::of(pairs.iter().map(|(a, b)| a.cpu / b.cpu))
}

/// What the server counted.
pub(crate) struct Counters {
    pub(crate) deliveries: f64,
    pub(crate) batches: f64,
    pub(crate) gaps: f64,
}

impl Counters {
    pub(crate) fn of(side: &Side) -> Self {
        let answer = Pollers::connect(side.process.addr, 1, "/stats HTTP/1.1").ask();
        let body = answer.split("\r\n\r\n").nth(1).expect("a body");
        let stats: serde_json::Value = serde_json::from_str(body).expect("JSON");
        let get = |name: &str| {
            stats[name]
                .as_f64()
                .unwrap_or_else(|| panic!("/stats has no {name}"))
        };
        Self {
            deliveries: get("deliveries"),
            batches: get("batches"),
            gaps: get("gaps"),
        }
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            deliveries: self.deliveries - before.deliveries,
            batches: self.batches - before.batches,
            gaps: self.gaps - before.gaps,
        }
    }
}

/// In milliseconds.
pub(crate) fn quantile(window: &Window, q: f64) -> f64 {
    window.lateness.value_at_quantile(q) as f64 / 1000.0
}
