//! Whether others worked on this machine meanwhile: by the kernel's own count, for loadgen's judgement is under test.

use std::fs;

/// A share of all cores, in percent, from which on others are said to disturb.
const OTHERS: f64 = 2.0;
const STOLEN: f64 = 0.02;

/// Ticks since the start of the machine, of all its cores.
#[derive(Clone, Copy)]
pub(crate) struct Others {
    all: u64,
    stolen: u64,
    /// Of this process and of its children that have ended.
    own: u64,
    /// Of every process.
    everybody: u64,
}

impl Others {
    pub(crate) fn watch() -> Self {
        let stat = fs::read_to_string("/proc/stat").expect("Linux counts its ticks");
        let ticks: Vec<u64> = stat
            .lines()
            .next()
            .unwrap()
            .split_whitespace()
            .skip(1)
            .map(|n| n.parse().unwrap())
            .collect();
        let [user, nice, system, _idle, _iowait, _irq, _softirq, stolen] = ticks[..8] else {
            panic!("{stat}")
        };
        let own = fs::read_to_string("/proc/self/stat").unwrap();
        let (_name, fields) = own.rsplit_once(") ").unwrap();
        let own = fields
            .split_whitespace()
            .skip(11)
            .take(4)
            .map(|n| n.parse::<u64>().unwrap())
            .sum();
        Self {
            all: ticks[..8].iter().sum(),
            stolen,
            own,
            everybody: user + nice + system,
        }
    }

    /// What there was of others since, in words; none if it was not worth mentioning.
    pub(crate) fn seen(self) -> Option<String> {
        let now = Self::watch();
        let percent = |ticks: u64| 100.0 * ticks as f64 / (now.all - self.all).max(1) as f64;
        let others = percent((now.everybody - self.everybody).saturating_sub(now.own - self.own));
        let stolen = percent(now.stolen - self.stolen);
        (others > OTHERS || stolen > STOLEN)
            .then(|| format!("others {others:.1} %, stolen {stolen:.1} %"))
    }
}
