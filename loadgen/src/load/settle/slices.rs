//! The slices of a set one by one, and what the machine did in them.

use std::iter::zip;
use std::ops::Range;

use super::{Evidence, Note};
use crate::clock::{Nanos, nanos};
use crate::measure::meter::{Pause, by_core};
use crate::measure::recorder::parts_per_second;
use crate::result::histogram::Times;
use crate::result::turn::{Pauses, Turn, negligible_pause};
use crate::result::usage::Usage;

const SECOND: Nanos = 1_000_000_000;

/// One slice: where it lay, what it cost, and its parts.
struct Slice<'a> {
    note: &'a Note,
    usage: &'a Usage,
    window: Range<Nanos>,
    parts: &'a [Times],
}

/// All of a trial.
pub(super) struct Slices<'a> {
    all: Vec<Slice<'a>>,
    /// How long a part is.
    part: Nanos,
}

impl<'a> Slices<'a> {
    /// Those that are noted; `parts` are the latencies of all windows, put end to end.
    pub(super) fn of(evidence: &'a Evidence, parts: &'a [Times]) -> Self {
        let part = SECOND / parts_per_second(evidence.length);
        let mut begin = 0;
        let slice = |((note, usage), window): (&'a (Note, Usage), &Range<Nanos>)| {
            let end = begin + (window.end - window.start);
            let at = |time: Nanos| ((time + part / 2) / part).min(parts.len() as Nanos) as usize;
            let parts = &parts[at(begin)..at(end)];
            begin = end;
            Slice {
                note,
                usage,
                window: window.clone(),
                parts,
            }
        };
        let all = zip(&evidence.notes, &evidence.windows).map(slice).collect();
        Self { all, part }
    }

    pub(super) fn turns(&self) -> Vec<Turn> {
        let turn = |slice: &Slice<'_>| {
            let Note {
                round,
                place,
                after,
                probe,
                pauses,
            } = slice.note;
            let usage = slice.usage;
            Turn {
                round: *round,
                place: *place,
                after: *after,
                is_metered: pauses.is_some(),
                latency_p50_ms: Times::merged(slice.parts.iter()).ms(0.5),
                server_cpu_us: usage.us(usage.server_cpu_ns),
                server_switches: usage
                    .server_switches
                    .and_then(|sum| usage.per_delivery(sum)),
                stolen_percent: usage.stolen_percent(),
                probe_us: probe.map(|time| time as f64 / 1e3),
            }
        };
        self.all.iter().map(turn).collect()
    }

    /// Those in which the meter ran, with what it saw in their windows.
    fn metered(&self) -> impl Iterator<Item = (&Slice<'a>, Vec<Pause>)> {
        self.all.iter().filter_map(|slice| {
            let pauses = slice.note.pauses.as_ref()?.iter().copied();
            let in_window = |pause: &Pause| {
                pause.at < slice.window.end && pause.at + pause.length > slice.window.start
            };
            Some((slice, pauses.filter(in_window).collect()))
        })
    }

    pub(super) fn pauses(&self) -> Option<Pauses> {
        let pauses = |(slice, pauses): (&Slice<'_>, Vec<Pause>)| Pauses {
            seconds: (slice.window.end - slice.window.start) as f64 / 1e9,
            cores: by_core(&pauses),
        };
        self.metered().map(pauses).reduce(|mut sum, pauses| {
            sum.add(&pauses);
            sum
        })
    }

    /// Of the parts in which no core stood still for long enough to matter beside this latency.
    pub(super) fn calm(&self, latency: &Times) -> Times {
        // What was due before a pause may have been under way in it.
        let under_way = latency.quantile(0.99).map_or(0, nanos);
        let shortest = negligible_pause(latency.ms(0.5).unwrap_or(0.0));
        let shortest = nanos(std::time::Duration::from_secs_f64(shortest / 1e3));
        let mut calm = Times::default();
        for (slice, pauses) in self.metered() {
            let long: Vec<Pause> = pauses
                .into_iter()
                .filter(|pause| pause.length > shortest)
                .collect();
            for (i, part) in (0..).zip(slice.parts) {
                let from = slice.window.start + i * self.part;
                let is_hit = |pause: &Pause| {
                    pause.at < from + self.part + under_way && pause.at + pause.length > from
                };
                if !long.iter().any(is_hit) {
                    calm.add(part);
                }
            }
        }
        calm
    }
}
