//! What connections take of the server's memory, and whether it is there again for the next ones.

use std::time::Duration;

use crate::child::{Cores, Measured};
use crate::crowd::{Crowd, Way};
use crate::polling::Pollers;
use crate::publisher::Publisher;
use crate::section::Size;
use crate::side::Side;
use crate::spread::{Bars, Spread};

/// What an idle connection takes: a slope over their number, beside bare hyper.
pub(crate) fn memory(cores: &Cores, size: &Size, bars: &mut Bars) {
    let many = size.many;
    let ws = slope(
        || Measured::server(cores),
        |process, count| subscribe(process, Way::Ws, count),
        many,
    );
    let pss = bars.at_most(&Spread::of(std::iter::once(ws.pss)), 2.5);
    println!("  ws: {}; PSS {pss}, stretch 1.8", ws.describe());
    let way = |way| move |process: &Measured, count| subscribe(process, way, count);
    compare(cores, bars, "sse", many, way(Way::Sse));
    compare(cores, bars, "held poll", many, way(Way::LongPoll));
    compare(cores, bars, "idle keep-alive", many, |process, count| {
        let mut pollers = Pollers::connect(process.addr, count, "/healthz HTTP/1.1");
        pollers.ask();
        pollers
    });
}

fn subscribe(process: &Measured, way: Way, count: usize) -> Crowd {
    let mut crowd = Crowd::connect(process.addr, way, count);
    crowd.settle(Duration::from_millis(500));
    crowd
}

fn compare<T>(
    cores: &Cores,
    bars: &mut Bars,
    name: &str,
    count: usize,
    connect: impl Fn(&Measured, usize) -> T,
) {
    let ours = slope(|| Measured::server(cores), &connect, count);
    let bare = slope(|| Measured::part(cores, "part-hyper"), &connect, count);
    println!(
        "  {name}: {}, bare hyper {}, ratio {}",
        ours.describe(),
        bare.describe(),
        bars.at_most(&Spread::of(std::iter::once(ours.pss / bare.pss)), 1.15),
    );
}

/// KiB of one connection.
struct PerConnection {
    pss: f64,
    anonymous: f64,
}

impl PerConnection {
    fn describe(&self) -> String {
        format!(
            "{:.2} KiB PSS, {:.2} of it anonymous",
            self.pss, self.anonymous
        )
    }
}

/// From a fifth of the connections to all of them: what the process takes anyway is in both.
fn slope<T>(
    start: impl Fn() -> Measured,
    connect: impl Fn(&Measured, usize) -> T,
    count: usize,
) -> PerConnection {
    let process = start();
    let few = count / 5;
    let _few = connect(&process, few);
    let before = process.memory();
    let _rest = connect(&process, count - few);
    let after = process.memory();
    let each = |before: f64, after: f64| (after - before) / 1024.0 / (count - few) as f64;
    PerConnection {
        pss: each(before.pss, after.pss),
        anonymous: each(before.anonymous, after.anonymous),
    }
}

/// Whether memory that a crowd needed is there for the next one, or taken anew.
pub(crate) fn passes(cores: &Cores, size: &Size, bars: &mut Bars) {
    // A peak is of one moment: it differs by a tenth from one server to the next.
    let all: Vec<[f64; 2]> = (0..size.pairs.min(5))
        .map(|_| two_passes(cores, size))
        .collect();
    println!(
        "  {} clients x {:.1} MiB, twice: peak {} MiB, then {} MiB, ratio {}",
        size.many,
        size.pass as f64 / 1024.0,
        Spread::of(all.iter().map(|peaks| peaks[0])),
        Spread::of(all.iter().map(|peaks| peaks[1])),
        bars.at_most(
            &Spread::of(all.iter().map(|peaks| peaks[1] / peaks[0])),
            1.05
        ),
    );
}

/// The peaks of a server's memory, in MiB: after one crowd, and after another.
fn two_passes(cores: &Cores, size: &Size) -> [f64; 2] {
    let mut process = Measured::server(cores);
    let mut peaks = [0.0; 2];
    for peak in &mut peaks {
        let crowd = Crowd::connect(process.addr, Way::Ws, size.many);
        let publisher = Publisher::to_server(process.addr, 1024);
        let mut side = Side {
            process,
            crowd,
            publisher: Some(publisher),
        }
        .settled();
        let rate = 400;
        let time = Duration::from_secs(1).mul_f64(size.pass as f64 / f64::from(rate));
        let cost = side.window(rate, time);
        assert!(
            cost.window.deliveries >= size.pass / 2 * side.crowd.len() as u64,
            "it did not get through"
        );
        process = side.process;
        drop((side.crowd, side.publisher));
        std::thread::sleep(Duration::from_millis(500));
        *peak = process.peak();
    }
    peaks.map(|peak| peak / f64::from(1 << 20))
}
