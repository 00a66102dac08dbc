//! At what price: CPU, memory, bytes and requests.

use derive_more::{Add, Sub, Sum};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Headers of a segment on a real link: IPv4, TCP and its timestamp option.
const HEADERS: f64 = 52.0;

/// Memory with this many connections, all of them idle.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub struct Memory {
    /// Connected clients.
    pub connections: usize,
    /// Proportional set size of the server, in bytes; unknown for a server that was not started for this trial.
    pub server_pss: Option<u64>,
    /// Its anonymous memory, in bytes: what it allocated. Of the pages of its program, PSS counts a share that depends on
    /// who else runs the same one.
    #[serde(default)]
    pub server_anonymous: Option<u64>,
    /// Proportional set size of the proxy before the server, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_pss: Option<u64>,
    /// What the kernel holds, in bytes: socket buffers and slab of the whole machine, both ends of each connection.
    pub kernel: u64,
}

/// This many ticks tell how a process's time divides into user and system mode: the kernel looks every 10 ms in which of
/// them it is, so a share of one half is known to 5 points.
const ENOUGH_TICKS: u64 = 100;
/// And this many of them in user mode, for a figure of that alone.
const ENOUGH_USER_TICKS: u64 = 10;
/// Memory per connection needs this many connections: a page, or what another program does meanwhile, is then little of
/// each.
const ENOUGH_CONNECTIONS: usize = 100;
/// And readings at this many counts of connections, none among them.
const ENOUGH_COUNTS: usize = 4;
/// And its standard error may be so much of it: readings that are no line say nothing about a connection.
const LARGEST_ERROR: f64 = 0.25;

/// How often the kernel found a process in each mode, in its ticks of 10 ms.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Add, Serialize, Deserialize, JsonSchema)]
pub struct Ticks {
    /// In user mode.
    pub user: u64,
    /// In system mode.
    pub system: u64,
}

impl Ticks {
    /// The part of a CPU time in user mode, where there are enough ticks to tell.
    pub(crate) fn user_of(self, cpu: u64) -> Option<u64> {
        let all = self.user.saturating_add(self.system);
        let enough = all >= ENOUGH_TICKS && self.user >= ENOUGH_USER_TICKS;
        enough.then(|| (cpu as f64 * (self.user as f64 / all as f64)) as u64)
    }
}

/// What happened between two readings, and the memory of idle connections.
#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Wall time between the readings, in seconds.
    pub seconds: f64,
    /// Deliveries received between them.
    pub deliveries: u64,
    /// CPU time of the server, user and system, in nanoseconds.
    pub server_cpu_ns: Option<u64>,
    /// Whether it was counted in ticks of 10 ms, because the process's clock could not be read.
    pub in_ticks: bool,
    /// The part of it in user mode: the ticks between the readings divide the exact total. Unknown where there are fewer
    /// than 100 of them, or fewer than 10 in user mode.
    pub server_user_ns: Option<u64>,
    /// Those ticks; those of several trials together may be enough where each alone has too few.
    #[serde(default)]
    pub server_ticks: Option<Ticks>,
    /// Context switches of the server.
    pub server_switches: Option<u64>,
    /// CPU time of the proxy before the server, all of its processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_cpu_ns: Option<u64>,
    /// CPU time of the servers beside it that were idle, and of their proxies.
    #[serde(default)]
    pub idle_ns: Option<u64>,
    /// CPU time of loadgen.
    pub loadgen_cpu_ns: Option<u64>,
    /// Time loadgen's threads were ready to run and waited for a core; unknown without the kernel's `schedstat`.
    pub loadgen_queued_ns: Option<u64>,
    /// How many threads of loadgen that were, in each trial.
    pub loadgen_threads: u64,
    /// Time others used on loadgen's cores: neither idle nor stolen, and neither loadgen nor a server that shares them.
    pub others_ns: Option<u64>,
    /// How many cores loadgen had.
    pub loadgen_cores: u64,
    /// Time the machine's cores were neither idle nor stolen.
    pub machine_busy_ns: Option<u64>,
    /// Time the hypervisor gave to others.
    pub steal_ns: Option<u64>,
    /// Cores of the machine.
    pub cores: u64,
    /// What was asked for on each core that the server or loadgen had.
    #[serde(default)]
    pub demand: Vec<Demand>,
    /// Traffic of the subscribers between the readings.
    pub traffic: Totals,
    /// The same over the whole life of their connections.
    pub life: Totals,
    /// What the kernel counted over that life.
    pub tcp: Tcp,
    /// Bytes of headers in a request of the subscribers: with a browser's headers, and with minimal ones.
    pub request_headers: [u64; 2],
    /// Whether the minimal ones were sent.
    pub minimal: bool,
    /// Memory as the clients connected: with none, a quarter, half and all of them.
    pub memory: Vec<Memory>,
    /// The most memory the server ever had, in bytes (`VmHWM`).
    pub server_peak: Option<u64>,
    /// The same of the proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_peak: Option<u64>,
}

/// What was asked for on a core: its time that was not idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Demand {
    /// The core's number.
    pub core: usize,
    /// Time it was used, in nanoseconds.
    pub busy_ns: u64,
    /// Time it was asked for, and the hypervisor gave to others.
    pub stolen_ns: u64,
}

impl Usage {
    /// Adds another trial's.
    pub fn add(&mut self, other: &Self) {
        let Self {
            seconds,
            deliveries,
            server_cpu_ns,
            in_ticks,
            server_user_ns,
            server_ticks,
            server_switches,
            proxy_cpu_ns,
            idle_ns,
            loadgen_cpu_ns,
            loadgen_queued_ns,
            loadgen_threads,
            others_ns,
            // Of one machine and one load: the same in both.
            loadgen_cores: _,
            cores: _,
            request_headers: _,
            minimal: _,
            machine_busy_ns,
            steal_ns,
            demand,
            traffic,
            life,
            tcp,
            memory,
            server_peak,
            proxy_peak,
        } = other;
        let sum = |a: &mut Option<u64>, b: &Option<u64>| *a = a.zip(*b).map(|(a, b)| a + b);
        self.seconds += seconds;
        self.deliveries += deliveries;
        self.in_ticks |= in_ticks;
        sum(&mut self.server_cpu_ns, server_cpu_ns);
        sum(&mut self.server_user_ns, server_user_ns);
        self.server_ticks = self.server_ticks.zip(*server_ticks).map(|(a, b)| a + b);
        // Of several parts together there may be ticks enough.
        if let Some(ticks) = self.server_ticks {
            self.server_user_ns = self.server_cpu_ns.and_then(|cpu| ticks.user_of(cpu));
        }
        sum(&mut self.server_switches, server_switches);
        sum(&mut self.proxy_cpu_ns, proxy_cpu_ns);
        sum(&mut self.idle_ns, idle_ns);
        sum(&mut self.loadgen_cpu_ns, loadgen_cpu_ns);
        sum(&mut self.loadgen_queued_ns, loadgen_queued_ns);
        self.loadgen_threads = self.loadgen_threads.max(*loadgen_threads);
        sum(&mut self.others_ns, others_ns);
        sum(&mut self.machine_busy_ns, machine_busy_ns);
        sum(&mut self.steal_ns, steal_ns);
        for demand in demand {
            match self.demand.iter_mut().find(|own| own.core == demand.core) {
                Some(own) => {
                    own.busy_ns = own.busy_ns.saturating_add(demand.busy_ns);
                    own.stolen_ns = own.stolen_ns.saturating_add(demand.stolen_ns);
                }
                None => self.demand.push(*demand),
            }
        }
        self.traffic = self.traffic + *traffic;
        self.life = self.life + *life;
        self.tcp = self.tcp + *tcp;
        self.memory.extend(memory);
        self.server_peak = self.server_peak.max(*server_peak);
        self.proxy_peak = self.proxy_peak.max(*proxy_peak);
    }

    /// A sum per delivery.
    pub fn per_delivery(&self, sum: u64) -> Option<f64> {
        (self.deliveries > 0).then(|| sum as f64 / self.deliveries as f64)
    }

    /// A time per delivery, in microseconds, of a sum in nanoseconds.
    pub fn us(&self, ns: Option<u64>) -> Option<f64> {
        Some(self.per_delivery(ns?)? / 1e3)
    }

    /// CPU time of the server, and of the proxy before it, which works on the same cores.
    pub fn serving_ns(&self) -> Option<u64> {
        Some(self.server_cpu_ns? + self.proxy_cpu_ns.unwrap_or(0))
    }

    /// CPU time of the server in user mode, in nanoseconds, where it is known: never more than all of it.
    pub fn user_ns(&self) -> Option<u64> {
        let cpu = self.server_cpu_ns?;
        match self.server_ticks {
            Some(ticks) => ticks.user_of(cpu),
            // An older file has the figure alone.
            None => self.server_user_ns.filter(|user| (1..=cpu).contains(user)),
        }
    }

    /// The stolen share of what was asked for, in percent, of the core that it was largest on: neither hides a quarter
    /// stolen from a core that is mostly idle, nor convicts a busy one.
    pub fn stolen_percent(&self) -> Option<f64> {
        let share = |stolen: u64, busy: u64| {
            100.0 * stolen as f64 / stolen.saturating_add(busy).max(1) as f64
        };
        let cores = self.demand.iter();
        cores
            .map(|core| share(core.stolen_ns, core.busy_ns))
            .max_by(f64::total_cmp)
    }

    /// For how much of the time a core in use was taken away, in percent, of the core that it was most on.
    pub fn stolen_time_percent(&self) -> Option<f64> {
        let stolen = self.demand.iter().map(|core| core.stolen_ns).max()?;
        Some(self.percent(stolen, 1))
    }

    /// Server memory per idle connection, in KiB: the slope over the number of connections, not a quotient.
    pub fn memory_kib(&self) -> Option<f64> {
        self.memory_slope(|memory| memory.server_pss)
    }

    /// The same of its anonymous memory alone.
    pub fn anonymous_kib(&self) -> Option<f64> {
        self.memory_slope(|memory| memory.server_anonymous)
    }

    /// Memory of the proxy for each idle client.
    pub fn proxy_kib(&self) -> Option<f64> {
        self.memory_slope(|memory| memory.proxy_pss)
    }

    /// The same of what the kernel holds for both ends of a connection.
    pub fn kernel_kib(&self) -> Option<f64> {
        self.memory_slope(|memory| Some(memory.kernel))
    }

    fn memory_slope(&self, bytes: impl Fn(&Memory) -> Option<u64>) -> Option<f64> {
        let point = |memory: &Memory| Some((memory.connections, bytes(memory)?));
        slope(self.memory.iter().filter_map(point)).map(|bytes| bytes / 1024.0)
    }

    /// Bytes from the clients if their requests had a browser's headers, and if they had minimal ones: one was measured,
    /// for the other the difference of the headers is counted.
    pub fn bytes_out(&self) -> [u64; 2] {
        let headers = |bytes: u64| self.traffic.requests.saturating_mul(bytes);
        let sent = headers(self.request_headers[usize::from(self.minimal)]);
        self.request_headers.map(|bytes| {
            self.traffic
                .bytes_out
                .saturating_add(headers(bytes))
                .saturating_sub(sent)
        })
    }

    /// Bytes on a real link, modelled: what was sent, a header for each segment of 1448 bytes, and as many bare
    /// acknowledgements for each read and write as there were here. To the clients, and from them.
    pub fn on_a_link(&self) -> [f64; 2] {
        let bare =
            |segments: u64, done: u64, all: u64| segments as f64 * done as f64 / all.max(1) as f64;
        let Self {
            traffic, life, tcp, ..
        } = self;
        let [bare_in, bare_out] = [
            bare(tcp.bare_segments_in, traffic.writes, life.writes),
            bare(tcp.bare_segments_out, traffic.reads, life.reads),
        ];
        [
            traffic.bytes_in as f64 + HEADERS * (traffic.segments_in as f64 + bare_in),
            traffic.bytes_out as f64 + HEADERS * (traffic.segments_out as f64 + bare_out),
        ]
    }

    /// A time in percent of what this many cores or threads had.
    pub fn percent(&self, ns: u64, of: u64) -> f64 {
        100.0 * ns as f64 / (self.seconds * 1e9 * of as f64).max(1.0)
    }
}

/// The slope of a line through points, by least squares; the points of each trial, which begin with no connection, have
/// an intercept of their own. Nothing where they are too few, or no line: what the kernel holds is the whole machine's, and
/// another program's memory is not to be read as a connection's.
fn slope(points: impl Iterator<Item = (usize, u64)>) -> Option<f64> {
    let mut trials: Vec<Vec<(f64, f64)>> = Vec::new();
    for (connections, bytes) in points {
        if connections == 0 || trials.is_empty() {
            trials.push(Vec::new());
        }
        let points = trials.last_mut()?;
        points.push((connections as f64, bytes as f64));
    }
    let mut counts: Vec<f64> = trials.iter().flatten().map(|(n, _)| *n).collect();
    counts.sort_unstable_by(f64::total_cmp);
    counts.dedup();
    if counts.len() < ENOUGH_COUNTS || *counts.last()? < ENOUGH_CONNECTIONS as f64 {
        return None;
    }
    let lines = trials.len();
    let steps: Vec<(f64, f64)> = trials.iter().flat_map(|trial| centred(trial)).collect();
    let squares: f64 = steps.iter().map(|(n, _)| n * n).sum();
    let slope = steps.iter().map(|(n, bytes)| n * bytes).sum::<f64>() / squares;
    let residuals: f64 = steps
        .iter()
        .map(|(n, bytes)| (bytes - slope * n).powi(2))
        .sum();
    let freedom = steps.len().checked_sub(lines + 1).filter(|n| *n > 0)?;
    let error = (residuals / freedom as f64 / squares).sqrt();
    (slope > 0.0 && error <= LARGEST_ERROR * slope).then_some(slope)
}

/// Points, less their mean.
fn centred(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mean =
        |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / points.len() as f64;
    let (n, bytes) = (mean(|point| point.0), mean(|point| point.1));
    points
        .iter()
        .map(|point| (point.0 - n, point.1 - bytes))
        .collect()
}

/// A meter's counts at one moment, or between two.
#[derive(
    Debug, Default, Clone, Copy, PartialEq, Eq, Add, Sub, Sum, Serialize, Deserialize, JsonSchema,
)]
pub struct Totals {
    /// Bytes from the server to the clients.
    pub bytes_in: u64,
    /// Bytes from the clients to the server.
    pub bytes_out: u64,
    /// Reads that brought something.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Segments of 1448 bytes that the reads would have been on a real link.
    pub segments_in: u64,
    /// The same for the writes.
    pub segments_out: u64,
    /// HTTP requests.
    pub requests: u64,
    /// Keep-alive connections that were gone before the next request, and made again.
    pub reconnects: u64,
    /// Requests that met the server's close of an idle connection, and were sent again on a new one; each counts as one
    /// request.
    #[serde(default)]
    pub retries: u64,
    /// Polls answered without a message.
    pub empties: u64,
}

impl Totals {
    /// Answers of polls that brought something. Never below zero: of an answer at the edge of a reading, the question
    /// may lie before it.
    pub fn answers(&self) -> u64 {
        self.requests.saturating_sub(self.empties)
    }
}

/// The kernel's counts, summed over connections, each over its whole life.
#[derive(
    Debug, Default, Clone, Copy, PartialEq, Eq, Add, Sum, Serialize, Deserialize, JsonSchema,
)]
pub struct Tcp {
    /// Connections that were asked.
    pub connections: u64,
    /// Bytes the server has acknowledged.
    pub bytes_acked: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Segments sent without data: mostly acknowledgements.
    pub bare_segments_out: u64,
    /// Segments received without data.
    pub bare_segments_in: u64,
    /// Segments sent again: over loopback there must be none.
    pub retransmissions: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_a_slope_and_what_was_there_before_does_not_count() {
        let points = [
            (0, 7_000_000),
            (250, 8_000_000),
            (500, 9_000_000),
            (1000, 11_000_000),
        ];
        assert!((slope(points.into_iter()).unwrap() - 4000.0).abs() < 1e-6);
        let twice = points
            .into_iter()
            .chain(points.map(|(n, bytes)| (n, bytes + 5_000_000)));
        assert!(
            (slope(twice).unwrap() - 4000.0).abs() < 1e-6,
            "each trial counts from its own beginning"
        );
        assert_eq!(slope([(0, 1)].into_iter()), None);
    }

    #[test]
    fn memory_without_enough_evidence_is_unknown() {
        let slope = |points: &[(usize, i64)]| {
            slope(
                points
                    .iter()
                    .map(|&(n, kib)| (n, (1_000_000 + kib) as u64 * 1024)),
            )
            .map(|bytes| bytes / 1024.0)
        };
        assert_eq!(
            slope(&[(0, 0), (25, 175), (50, 350), (100, 700)]),
            Some(7.0)
        );
        assert!(
            slope(&[(0, 0), (25, 190), (50, 330), (100, 700)]).is_some(),
            "a little noise"
        );
        for (points, why) in [
            (
                &[(0, 0), (24, 175), (48, 350), (99, 700)][..],
                "fewer than 100 connections",
            ),
            (&[(0, 0), (50, 350), (100, 700)], "fewer than four counts"),
            (
                &[(0, 0), (100, 700), (100, 700), (100, 700)],
                "four readings of two counts",
            ),
            (
                &[(0, 0), (25, 175), (50, 350), (100, 322_600)],
                "another program took memory at the end",
            ),
            (
                &[(0, 0), (25, 80_000), (50, 80_175), (100, 80_500)],
                "or at the beginning",
            ),
            (&[(0, 0), (25, 900), (50, -300), (100, 700)], "up and down"),
            (
                &[(0, 0), (25, -175), (50, -350), (100, -700)],
                "it became less",
            ),
            (&[(0, 0), (25, 0), (50, 0), (100, 0)], "nothing was seen"),
        ] {
            assert_eq!(slope(points), None, "{why}");
        }
    }

    #[test]
    fn user_time_needs_ticks_enough_and_never_exceeds_the_whole() {
        let user = |user, system| {
            let usage = Usage {
                server_cpu_ns: Some(1_000),
                server_ticks: Some(Ticks { user, system }),
                server_user_ns: Some(5_000),
                ..Usage::default()
            };
            usage.user_ns()
        };
        assert_eq!(
            (user(50, 50), user(10, 90), user(1_000, 0)),
            (Some(500), Some(100), Some(1_000))
        );
        assert_eq!(
            (user(0, 0), user(49, 50), user(0, 1_000), user(9, 991)),
            (None, None, None, None)
        );
        let old = |user| {
            Usage {
                server_cpu_ns: Some(1_000),
                server_user_ns: user,
                ..Usage::default()
            }
            .user_ns()
        };
        assert_eq!(
            (old(Some(400)), old(Some(1_001)), old(Some(0)), old(None)),
            (Some(400), None, None, None)
        );
    }

    #[test]
    fn ticks_of_several_trials_are_enough_together() {
        let ticks = Some(Ticks {
            user: 20,
            system: 40,
        });
        let one = Usage {
            server_cpu_ns: Some(600),
            server_ticks: ticks,
            ..Usage::default()
        };
        let mut both = one.clone();
        both.add(&one);
        assert_eq!((one.user_ns(), both.user_ns()), (None, Some(400)));
    }

    #[test]
    fn a_real_link_adds_a_header_for_each_segment_and_acknowledgement() {
        let traffic = Totals {
            bytes_in: 3000,
            segments_in: 3,
            reads: 2,
            bytes_out: 100,
            segments_out: 1,
            writes: 1,
            ..Totals::default()
        };
        let tcp = Tcp {
            bare_segments_out: 2,
            ..Tcp::default()
        };
        let usage = Usage {
            traffic,
            life: traffic,
            tcp,
            ..Usage::default()
        };
        assert_eq!(
            usage.on_a_link(),
            [3000.0 + 3.0 * 52.0, 100.0 + 52.0 + 2.0 * 52.0]
        );
    }
}
