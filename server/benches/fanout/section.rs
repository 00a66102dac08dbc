//! What is measured of deliveries, a function for each: what runs beside what, and the lines that are printed.

use std::time::Duration;

use crate::child::Cores;
use crate::crowd::Way;
use crate::side::{Cost, Counters, Side, pairs, quantile, ratio};
use crate::spread::{Bars, Spread};
use crate::{memory, nchan};

/// How much is run.
pub(crate) struct Size {
    pub(crate) pairs: usize,
    /// The larger and the smaller crowd.
    pub(crate) many: usize,
    pub(crate) some: usize,
    pub(crate) window: Duration,
    /// Short polls a second.
    pub(crate) polls: u32,
    /// What one subscriber gets in a pass of `passes`, in messages of 1 KiB.
    pub(crate) pass: u64,
}

impl Size {
    /// `cargo bench`.
    pub(crate) const WHOLE: Self = Self {
        pairs: 15,
        many: 5000,
        some: 1000,
        window: Duration::from_secs(1),
        polls: 50_000,
        pass: 10_240,
    };
    /// `cargo test`: does it run at all.
    pub(crate) const TINY: Self = Self {
        pairs: 1,
        many: 20,
        some: 10,
        window: Duration::from_millis(500),
        polls: 1000,
        pass: 20,
    };
}

/// A section: its name, and what it runs.
pub(crate) type Section = fn(&Cores, &Size, &mut Bars);

pub(crate) const ALL: &[(&str, Section)] = &[
    ("ws", ws),
    ("saturation", saturation),
    ("latency", latency),
    ("sse", sse),
    ("held", held),
    ("short-poll", nchan::short_poll),
    ("memory", memory::memory),
    ("passes", memory::passes),
    ("unsent", unsent),
];

/// The size of a message as the server encodes it, in bytes.
pub(crate) const MESSAGE: usize = 128;

/// CPU per delivery where there is nothing to batch.
fn ws(cores: &Cores, size: &Size, bars: &mut Bars) {
    for count in [size.some, size.many] {
        let mut floor = Side::floor(cores, count);
        let mut server = Side::server(cores, Way::Ws, count);
        let pairs = pairs(&mut server, &mut floor, 10, size);
        println!(
            "  N = {count}, 10/s: CPU per delivery {} us, floor {} us, ratio {}; p50 {} p99 {} ms, floor p50 {} p99 {} ms",
            Spread::of(pairs.iter().map(|pair| pair.0.cpu)),
            Spread::of(pairs.iter().map(|pair| pair.1.cpu)),
            bars.at_most(&ratio(&pairs), 1.3),
            Spread::of(pairs.iter().map(|pair| quantile(&pair.0.window, 0.5))),
            Spread::of(pairs.iter().map(|pair| quantile(&pair.0.window, 0.99))),
            Spread::of(pairs.iter().map(|pair| quantile(&pair.1.window, 0.5))),
            Spread::of(pairs.iter().map(|pair| quantile(&pair.1.window, 0.99))),
        );
    }
}

/// How many deliveries it makes when more are offered than it can make one by one.
fn saturation(cores: &Cores, size: &Size, bars: &mut Bars) {
    let mut server = Side::server(cores, Way::Ws, size.many);
    server.window(3000, size.window / 2);
    let counters = Counters::of(&server);
    // Longer than a room retains at this rate: whoever falls behind for good is told a gap.
    let time = size.window * 4;
    let costs: Vec<Cost> = (0..size.pairs.min(5))
        .map(|_| server.window(3000, time))
        .collect();
    let counters = Counters::of(&server).since(&counters);
    let offered = time.as_secs_f64() * 3000.0 * size.many as f64;
    println!(
        "  N = {}, 3000/s ({:.1} M deliveries/s offered): {} % within the window, {} gaps, p50 {} p99 {} ms; {:.1} messages a batch, CPU per delivery {} us",
        size.many,
        3000.0 * size.many as f64 / 1e6,
        bars.at_least(
            &Spread::of(
                costs
                    .iter()
                    .map(|cost| cost.window.in_time as f64 / offered * 100.0)
            ),
            98.0
        ),
        bars.at_most(&Spread::of(std::iter::once(counters.gaps)), 0.0),
        Spread::of(costs.iter().map(|cost| quantile(&cost.window, 0.5))),
        bars.at_most(
            &Spread::of(costs.iter().map(|cost| quantile(&cost.window, 0.99))),
            300.0
        ),
        counters.deliveries / counters.batches,
        Spread::of(costs.iter().map(|cost| cost.cpu)),
    );
}

/// Lateness under load, in sweeps: what the floor takes to write one message to everybody.
fn latency(cores: &Cores, size: &Size, bars: &mut Bars) {
    let mut floor = Side::floor(cores, size.many);
    let mut server = Side::server(cores, Way::Ws, size.many);
    for deliveries in [200_000, 1_000_000] {
        let rate = u32::try_from(deliveries / size.many.max(1000)).expect("a rate");
        server.window(rate, size.window / 2);
        floor.window(10, size.window / 2);
        let pairs = (0..size.pairs).map(|_| {
            let sweep = floor.window(10, size.window).cpu * size.many as f64 / 1000.0;
            (
                quantile(&server.window(rate, size.window).window, 0.99),
                sweep,
            )
        });
        let pairs: Vec<(f64, f64)> = pairs.collect();
        println!(
            "  N = {}, {rate}/s: p99 {} ms, one sweep of the floor {} ms, ratio {}",
            size.many,
            Spread::of(pairs.iter().map(|pair| pair.0)),
            Spread::of(pairs.iter().map(|pair| pair.1)),
            bars.at_most(
                &Spread::of(pairs.iter().map(|(p99, sweep)| p99 / sweep)),
                2.2
            ),
        );
    }
}

fn against_ws(cores: &Cores, size: &Size, bars: &mut Bars, way: Way, bar: f64) {
    for count in [size.some, size.many] {
        let mut other = Side::server(cores, way, count);
        let mut ws = Side::server(cores, Way::Ws, count);
        // 5000 held polls ask 5000 times a message: at 10/s the readers' core would be full first.
        let rate = if count == size.many { 4 } else { 10 };
        let pairs = pairs(&mut other, &mut ws, rate, size);
        println!(
            "  N = {count}, {rate}/s: CPU per delivery {} us, ws {} us, ratio {}",
            Spread::of(pairs.iter().map(|pair| pair.0.cpu)),
            Spread::of(pairs.iter().map(|pair| pair.1.cpu)),
            bars.at_most(&ratio(&pairs), bar),
        );
    }
}

fn sse(cores: &Cores, size: &Size, bars: &mut Bars) {
    against_ws(cores, size, bars, Way::Sse, 1.2);
}

fn held(cores: &Cores, size: &Size, bars: &mut Bars) {
    against_ws(cores, size, bars, Way::LongPoll, 2.4);
}

/// What it costs that little waits in the kernel to be sent (`TCP_NOTSENT_LOWAT`), beside a server that leaves it to the
/// kernel: where there is nothing to batch, and at a million deliveries a second.
fn unsent(cores: &Cores, size: &Size, bars: &mut Bars) {
    let mut little = Side::server(cores, Way::Ws, size.many);
    let mut kernels = Side::server_with(cores, Way::Ws, size.many, &["--unsent", "0"]);
    for rate in [10, 200] {
        let pairs = pairs(&mut little, &mut kernels, rate, size);
        let p99 = pairs
            .iter()
            .map(|(a, b)| quantile(&a.window, 0.99) / quantile(&b.window, 0.99));
        println!(
            "  N = {}, {rate}/s: CPU ratio {}, p99 ratio {}",
            size.many,
            bars.at_most(&ratio(&pairs), 1.1),
            bars.at_most(&Spread::of(p99), 1.1),
        );
    }
}
