//! `loadgen probe URL`: does a path carry this? By trying, with few connections, it finds what becomes of each transport
//! between here and a running server: behind a proxy, a balancer, or both.
//!
//! `tries`, `streams` and `waits` try, over `connection` and `kept`; what they find is in `findings`. `advice` says what follows, `remedies` what
//! to change in which product, `words` tells it.

mod advice;
mod connection;
mod findings;
mod kept;
mod remedies;
mod streams;
mod tries;
mod waits;
mod words;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use clap::Args;
use reqwest::Url;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::advice::{Advice, time};
use self::connection::Path;
use self::findings::{Findings, seconds};
use self::remedies::settings;
use crate::cli::Exit;
use crate::console;
use crate::result::bounds::{HEARTBEAT, HOLD, UP_TO};
use crate::signals;
use crate::target::resolve;

/// What its help ends with.
pub const EXAMPLES: &str = "\
Examples:
  loadgen probe http://127.0.0.1:8080              what cuts within 75 s
  loadgen probe http://127.0.0.1:8080 --up-to 5m   what cuts after minutes
  loadgen probe http://127.0.0.1:8080 --json       for a program

Exit codes: 0 all four transports are safe there; 1 something is not; 2 wrong
usage, or no server of this workbench answers; 130, 143, 129 ended early by
Ctrl-C, SIGTERM, SIGHUP (what was found is told).";

/// A heartbeat has two connections, of the twenty or so that a probe may take.
const HEARTBEATS: usize = 5;
/// The short tries take about this long, or less.
const SHORT: Duration = Duration::from_secs(5);
/// Lines are no longer than this where no terminal says how long they may be.
const WIDTH: usize = 100;
/// The least that lines may have.
const NARROWEST: usize = 60;

/// What the path to a running server carries: its proxies and balancers.
#[derive(Args, Debug)]
pub struct Probe {
    /// The address that people open: of the proxy or balancer with a server of the workbench behind it, such as
    /// http://127.0.0.1:8080.
    url: String,
    /// The longest silence that is tried, 1s to 9m: about as long it takes. Most proxies cut after a minute.
    #[arg(long, value_name = "TIME", default_value = "75s", value_parser = |text: &str| UP_TO.parse(text), allow_hyphen_values = true)]
    up_to: Duration,
    /// The heartbeats that are tried, as far as they are shorter than --up-to: at most 5, 1s to 10m, separated by commas.
    #[arg(long, value_name = "TIMES", value_delimiter = ',', default_value = "20s,30s,60s", value_parser = |text: &str| HEARTBEAT.parse(text), allow_hyphen_values = true)]
    heartbeats: Vec<Duration>,
    /// How long your clients have a poll held, 1ms to 1m.
    #[arg(long, value_name = "TIME", default_value = "25s", value_parser = |text: &str| HOLD.parse(text), allow_hyphen_values = true)]
    hold: Duration,
    /// Allow an address that is not this machine.
    #[arg(long)]
    allow_remote: bool,
    /// Say nothing while it tries.
    #[arg(long)]
    quiet: bool,
    /// Print what was found as JSON.
    #[arg(long)]
    json: bool,
}

impl Probe {
    /// Runs it. An error is one of usage, or that no server of the workbench answers.
    pub async fn run(self) -> Result<Exit> {
        let heartbeats: BTreeSet<Duration> = self.heartbeats.iter().copied().collect();
        ensure!(
            heartbeats.len() <= HEARTBEATS,
            "--heartbeats: at most {HEARTBEATS} of them, found {}",
            heartbeats.len()
        );
        let heartbeats: Vec<Duration> = heartbeats.into_iter().collect();
        let looked_up = resolve("probe", &self.url, self.allow_remote);
        let addr = signals::or_interrupted(looked_up).await?;
        let path = Path::new(addr, host(&self.url)?);
        let mut found = Findings {
            url: self.url.clone(),
            up_to_s: seconds(self.up_to),
            hold_s: seconds(self.hold),
            ..Findings::default()
        };
        signals::or_interrupted(tries::contact(&path, &self.url, &mut found)).await?;
        self.forecast(&heartbeats);
        tokio::select! {
            () = self.attempt(&path, &heartbeats, &mut found) => {}
            () = signals::interruption() => found.interrupted = true,
        }
        console::draw("");
        found.connections = path.opened();
        self.tell(&found)
    }

    /// Says what will be done, and how long it takes.
    fn forecast(&self, heartbeats: &[Duration]) {
        let tried = heartbeats.iter().filter(|&&time| time < self.up_to).count();
        // A held poll, and a silent one of both streams.
        let open = 3 + 2 * tried;
        self.say(&format!(
            "probe: about {} connections to {}, and a few messages in a room of its own.",
            open + 11,
            self.url
        ));
        self.say(&format!(
            "It takes about {}: {open} connections at once are left open for {} (--up-to).",
            time(seconds(self.up_to + SHORT)),
            time(seconds(self.up_to)),
        ));
        if tried < heartbeats.len() {
            let left = heartbeats.iter().filter(|&&time| time >= self.up_to);
            let left: Vec<String> = left.map(|&it| time(seconds(it))).collect();
            self.say(&format!(
                "Not tried, for --up-to is not longer: heartbeats of {}.",
                left.join(", ")
            ));
        }
    }

    /// All that is tried.
    async fn attempt(&self, path: &Path, heartbeats: &[Duration], found: &mut Findings) {
        tries::run(path, found).await;
        let waits = waits::run(path, self.up_to, heartbeats, found);
        tokio::pin!(waits);
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (began, is_live) = (Instant::now(), !self.quiet && console::is_live());
        loop {
            tokio::select! {
                () = &mut waits => return,
                _ = ticks.tick() => if is_live {
                    let so_far = began.elapsed().as_secs();
                    console::draw(&format!("waiting: {so_far} of {} s", self.up_to.as_secs()));
                }
            }
        }
    }

    fn say(&self, text: &str) {
        if !self.quiet {
            console::say(text);
        }
    }

    fn tell(&self, found: &Findings) -> Result<Exit> {
        let advice = Advice::of(found);
        let text = if self.json {
            serde_json::to_string_pretty(&json(found, &advice))? + "\n"
        } else {
            let width = console::columns().map_or(WIDTH, |width| width.clamp(NARROWEST, WIDTH));
            words::text(found, &advice, width)
        };
        let printed = console::print(&text);
        if let Err(error) = &printed {
            console::say(&format!("loadgen: {error:#}"));
        }
        Ok(if printed.is_ok() && advice.is_good() {
            Exit::Done
        } else {
            Exit::Failed
        })
    }
}

/// What is printed for programs: what was found, what follows, and what to change.
fn json(found: &Findings, advice: &Advice) -> Value {
    let problems = advice.problems.iter().map(|problem| {
        let settings = settings(problem.kind).iter().map(|setting| {
            json!({
                "product": setting.product,
                "line": setting.line(problem.time_s),
                "source": setting.source,
            })
        });
        let mut value = json!(problem);
        value["settings"] = settings.collect();
        value
    });
    json!({
        "found": found,
        "transports": advice.transports,
        "problems": problems.collect::<Vec<Value>>(),
    })
}

/// The host as requests name it: with its port, unless that is the usual one.
fn host(url: &str) -> Result<String> {
    let parsed = Url::parse(url)?;
    let host = parsed
        .host_str()
        .ok_or_else(|| anyhow!("probe {url}: it names no host"))?;
    Ok(parsed
        .port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}
