//! Charts as SVG: each stands alone as a file, in light and dark, and in the report.

use super::table::mark_missing;
use crate::result::comparison::{Comparison, row_name};
use crate::result::effect::{Effect, Figure};
use crate::result::metric::{Metric, messages_needed};
use crate::result::summary::Summary;
use crate::result::variant::{Publish, Variant};
use crate::result::verdict::Guard;
use crate::result::words::number;

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 310.0;
/// The plot within the picture: left, top, right, bottom.
const PLOT: [f64; 4] = [58.0, 56.0, WIDTH - 20.0, HEIGHT - 44.0];
const BAR: f64 = 34.0;
/// Colours by transport, apart also for those who do not see them all; dashes where lines lie upon each other.
const STYLE: &str = include_str!("chart.css");

/// From here on it is the tail of a distribution.
const TAIL: f64 = 0.9;
/// The widths of a character of a label, at most and on average; there is no font here to ask.
const CHARACTER: [f64; 2] = [7.8, 7.0];
/// Between the entries of a legend, and of its rows.
const LEGEND: [f64; 2] = [40.0, 17.0];

/// All pictures of a comparison: the name of the file, and the SVG.
pub fn all(comparison: &Comparison) -> Vec<(&'static str, String)> {
    let summaries = &Summary::of(comparison);
    let cpu = with_proxy(summaries, "server_cpu_us", "proxy_cpu_us");
    let memory = with_proxy(summaries, "server_memory_kib", "proxy_memory_kib");
    let also = match comparison.proxy {
        Some(_) => "; outlined: proxy",
        None => "",
    };
    let bytes = |s| Some((s, both_ways(s)?));
    let bytes: Vec<(&Summary, Vec<f64>)> = summaries.iter().filter_map(bytes).collect();
    let unit = comparison.unit();
    let mut charts = vec![
        ("latency.svg", latency(summaries)),
        (
            "deliveries.svg",
            deliveries(summaries, comparison.scenario.duration().as_secs_f64()),
        ),
        (
            "cpu.svg",
            bars(
                &format!("Server CPU per delivery, µs{also}"),
                Guard::Cpu,
                &cpu,
            ),
        ),
        (
            "bytes.svg",
            bars(
                "Bytes per delivery: to the client, and (outlined) from it",
                Guard::Traffic,
                &bytes,
            ),
        ),
        (
            "memory.svg",
            bars(
                &format!("Server memory per idle connection, KiB{also}"),
                Guard::Memory,
                &memory,
            ),
        ),
    ];
    charts.extend(
        ratios(
            &format!("Latency p50, {unit} by {unit}"),
            comparison,
            Figure::P50,
        )
        .map(|chart| ("ratios-p50.svg", chart)),
    );
    charts.extend(
        ratios(
            &format!("Server CPU per delivery, {unit} by {unit}"),
            comparison,
            Figure::Cpu,
        )
        .map(|chart| ("ratios-cpu.svg", chart)),
    );
    charts
}

/// Bytes to the clients, and from them.
fn both_ways(summary: &Summary) -> Option<Vec<f64>> {
    let read = |id: &str| summary.value(Metric::of(id));
    Some(vec![read("bytes_down")?, read("bytes_up")?])
}

/// A figure of the server, and of a row that goes through a proxy the proxy's beside it.
fn with_proxy<'a>(
    summaries: &'a [Summary],
    server: &str,
    proxy: &str,
) -> Vec<(&'a Summary, Vec<f64>)> {
    let parts = |s: &'a Summary| {
        let server = s.value(Metric::of(server))?;
        let proxy = s.value(Metric::of(proxy));
        Some((s, [server].into_iter().chain(proxy).collect()))
    };
    summaries.iter().filter_map(parts).collect()
}

/// The classes of a row's lines and bars: its transport's place in the palette, thinner for another way up, and paler through a
/// proxy.
fn class(variant: Variant) -> String {
    let Variant { mode, publish, via } = variant;
    format!(
        "c-{}{}{}",
        mode as usize + 1,
        if publish == Publish::Native {
            " c-native"
        } else {
            ""
        },
        if via.is_some() { " c-via" } else { "" }
    )
}

/// An axis: its label, its marks, and the values at its ends.
struct Axis {
    label: &'static str,
    marks: Vec<(f64, String)>,
    from: f64,
    to: f64,
}

impl Axis {
    /// Where a value lies, in a picture in which the axis has these ends.
    fn place(&self, value: f64, [from, to]: [f64; 2]) -> f64 {
        from + (value - self.from) / (self.to - self.from) * (to - from)
    }
}

/// One line: its transport's name, and its points, of which the first `sure` have enough behind them.
struct Line {
    name: String,
    class: String,
    points: Vec<(f64, f64)>,
    sure: usize,
}

/// The latency chart ends at so many nines.
const NINES: f64 = 3.0;

/// The latencies of a row, from the median to the rarest that it has any of.
fn quantiles(s: &Summary) -> Line {
    let steps = (0..=150)
        .map(|i| f64::from(i) / 150.0 * NINES)
        .map(|nines| (nines, 1.0 - 10_f64.powf(-nines)));
    // One line of the same trials: those that say something of its end, if there are any.
    let guard = if s.stands(Guard::Tail) {
        Guard::Tail
    } else {
        Guard::Median
    };
    let outcome = s.outcome(guard);
    let (times, messages) = (&outcome.latency, outcome.publishing.acked);
    let is_sound = |share: f64| {
        s.is_sound(if share < TAIL {
            Guard::Median
        } else {
            Guard::Tail
        }) && messages >= messages_needed(share)
    };
    let steps: Vec<(f64, f64)> = steps
        .filter(|(_, share)| times.count() as f64 * (1.0 - share) >= 1.0)
        .collect();
    let sure = steps
        .iter()
        .take_while(|(_, share)| is_sound(*share))
        .count();
    let point = |&(nines, share): &(f64, f64)| Some((nines, times.ms(share)?.max(1e-3).log10()));
    Line {
        name: s.variant.to_string(),
        class: class(s.variant),
        points: steps.iter().filter_map(point).collect(),
        sure,
    }
}

/// Latency by percentile, both axes logarithms: of 1 / (1 - q), so that the tail has room, and of milliseconds.
fn latency(summaries: &[Summary]) -> String {
    let lines: Vec<Line> = summaries.iter().map(quantiles).collect();
    let values = lines
        .iter()
        .flat_map(|line| &line.points)
        .map(|point| point.1);
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), log| {
        (low.min(log), high.max(log))
    });
    let (low, high) = if low > high {
        (0.0, 1.0)
    } else {
        (low.floor(), high.ceil())
    };
    let high = high.max(low + 1.0);
    let decade = |decade| (f64::from(decade), short(10_f64.powi(decade)));
    let percentiles = [
        (0.0, "0"),
        (0.5, "50"),
        (0.9, "90"),
        (0.99, "99"),
        (0.999, "99.9"),
    ];
    let x = Axis {
        label: "% of deliveries, at most so late",
        marks: percentiles
            .iter()
            .map(|&(share, text)| (-f64::log10(1.0 - share), text.into()))
            .collect(),
        from: 0.0,
        to: NINES,
    };
    let y = Axis {
        label: "ms",
        marks: (low as i32..=high as i32).map(decade).collect(),
        from: low,
        to: high,
    };
    plot(
        "Delivery latency by percentile",
        &describe(summaries),
        &x,
        &y,
        &lines,
    )
}

fn describe(summaries: &[Summary]) -> String {
    let ms = |s: &Summary, share| {
        let guard = if share < TAIL {
            Guard::Median
        } else {
            Guard::Tail
        };
        let outcome = s.outcome(guard);
        outcome
            .latency
            .ms(share)
            .map_or("-".into(), |ms| number(ms) + mark_missing(outcome, share))
    };
    let one = |s: &Summary| {
        format!(
            "{}: median {} ms, 99 % within {} ms.",
            s.variant,
            ms(s, 0.5),
            ms(s, 0.99)
        )
    };
    summaries.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn deliveries(summaries: &[Summary], seconds: f64) -> String {
    let line = |s: &Summary| {
        let points: Vec<(f64, f64)> = s
            .flow(seconds)
            .enumerate()
            .map(|(i, flow)| ((i as f64 + 0.5).min(seconds), flow))
            .collect();
        Line {
            name: s.variant.to_string(),
            class: class(s.variant),
            sure: if s.is_sound(Guard::Counts) {
                points.len()
            } else {
                0
            },
            points,
        }
    };
    let lines: Vec<Line> = summaries.iter().map(line).collect();
    let points = || lines.iter().flat_map(|line| &line.points);
    let step = step(points().map(|point| point.1).fold(1.0, f64::max));
    let top = (points().map(|point| point.1).fold(1.0, f64::max) / step).ceil() * step;
    let every = (seconds / 6.0).ceil().max(1.0);
    let marks = |last: f64, step: f64| {
        (0..)
            .map(move |i| f64::from(i) * step)
            .take_while(move |x| *x <= last * 1.0001)
    };
    let x = Axis {
        label: "seconds of the measuring window",
        marks: marks(seconds, every).map(|x| (x, format!("{x}"))).collect(),
        from: 0.0,
        to: seconds,
    };
    let y = Axis {
        label: "deliveries/s",
        marks: marks(top, step).map(|y| (y, short(y))).collect(),
        from: 0.0,
        to: top,
    };
    let mean = |s: &Summary| {
        let flow: Vec<f64> = s.flow(seconds).collect();
        flow.iter().sum::<f64>() / flow.len().max(1) as f64
    };
    let text: Vec<String> = summaries
        .iter()
        .map(|s| format!("{}: {} per second on average.", s.variant, number(mean(s))))
        .collect();
    plot("Deliveries over time", &text.join(" "), &x, &y, &lines)
}

/// A round distance for four or five marks up to a value.
fn step(top: f64) -> f64 {
    let rough = top / 4.0;
    let decade = 10_f64.powf(rough.log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0]
        .map(|factor| factor * decade)
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(rough)
}

/// A number in few characters, whatever its size.
fn short(value: f64) -> String {
    let (figure, unit) = match value.abs() {
        x if x >= 1e18 => return format!("{value:.0e}"),
        x if x >= 1e15 => (value / 1e15, "P"),
        x if x >= 1e12 => (value / 1e12, "T"),
        x if x >= 1e9 => (value / 1e9, "G"),
        x if x >= 1e6 => (value / 1e6, "M"),
        x if x >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let text = number(figure);
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}{unit}")
}

/// How much room a label needs.
fn room(text: &str) -> f64 {
    CHARACTER[0] * text.chars().count() as f64
}

/// Where the entries of a legend begin, one row below the other, and how many rows they need.
fn legend<'a>(names: impl Iterator<Item = &'a str>) -> (Vec<[f64; 2]>, f64) {
    let (mut places, mut x, mut y) = (Vec::new(), 12.0, 35.0);
    for name in names {
        let width = LEGEND[0] + CHARACTER[1] * name.chars().count() as f64;
        if x > 12.0 && x + width - 15.0 > WIDTH {
            (x, y) = (12.0, y + LEGEND[1]);
        }
        places.push([x, y]);
        x += width;
    }
    (places, y - 35.0)
}

fn open(title: &str, description: &str, height: f64) -> String {
    let size = format!(r#"viewBox="0 0 {WIDTH} {height}""#);
    let mut out =
        format!(r#"<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" class="chart">"#);
    out += &format!("<title>{title}</title><desc>{description}</desc><style>{STYLE}</style>");
    out += &format!(r#"<rect class="c-back" width="{WIDTH}" height="{height}" rx="8"/>"#);
    out + &mark("c-title", 12.0, 20.0, title)
}

fn mark(class: &str, x: f64, y: f64, text: &str) -> String {
    format!(r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{text}</text>"#)
}

fn plot(title: &str, description: &str, x: &Axis, y: &Axis, lines: &[Line]) -> String {
    let (places, lower) = legend(lines.iter().map(|line| line.name.as_str()));
    let (height, [left, top, right, bottom]) = (
        HEIGHT + lower,
        [PLOT[0], PLOT[1] + lower, PLOT[2], PLOT[3] + lower],
    );
    let across = |value| x.place(value, [left, right]);
    let up = |value| y.place(value, [bottom, top]);
    let mut out = open(title, description, height);
    for (value, text) in &y.marks {
        let height = up(*value);
        out += &format!(r#"<path class="c-grid" d="M{left} {height:.1}H{right}"/>"#);
        out += &mark("c-mark c-end", left - 6.0, height + 4.0, text);
    }
    for (value, text) in &x.marks {
        out += &mark("c-mark c-mid", across(*value), bottom + 16.0, text);
    }
    out += &mark("c-mark c-mid", (left + right) / 2.0, height - 8.0, x.label);
    out += &mark("c-mark c-end", right, 20.0, y.label);
    for (
        Line {
            name,
            class: own,
            points,
            sure: count,
        },
        [place, line],
    ) in lines.iter().zip(places)
    {
        let (sure, doubt) = (&points[..*count], &points[count.saturating_sub(1)..]);
        for (class, part) in [("", sure), (" c-doubt", doubt)] {
            let part: Vec<String> = part
                .iter()
                .map(|&(x, y)| format!("{:.1},{:.1}", across(x), up(y)))
                .collect();
            if part.len() > 1 {
                out += &format!(
                    r#"<polyline class="c-line {own}{class}" points="{}"/>"#,
                    part.join(" ")
                );
            }
        }
        out += &format!(r#"<path class="c-line {own}" d="M{place:.1} {line}h20"/>"#);
        out += &mark("c-mark", place + 25.0, line + 4.0, name);
    }
    out + "</svg>"
}

/// A bar for each transport, in one or two parts.
fn bars(title: &str, guard: Guard, rows: &[(&Summary, Vec<f64>)]) -> String {
    let values = |parts: &[f64]| {
        parts
            .iter()
            .map(|&value| short(value))
            .collect::<Vec<_>>()
            .join(" + ")
    };
    let widest =
        |texts: &mut dyn Iterator<Item = String>| texts.map(|text| room(&text)).fold(0.0, f64::max);
    let left = 16.0 + widest(&mut rows.iter().map(|(s, _)| s.variant.to_string()));
    let right = WIDTH - 14.0 - widest(&mut rows.iter().map(|(_, parts)| values(parts)));
    let most = rows
        .iter()
        .map(|(_, parts)| parts.iter().sum())
        .fold(0.0, f64::max)
        .max(f64::MIN_POSITIVE);
    let description: Vec<String> = rows
        .iter()
        .map(|(s, parts)| format!("{}: {}.", s.variant, values(parts)))
        .collect();
    let mut out = open(
        title,
        &description.join(" "),
        40.0 + rows.len() as f64 * BAR,
    );
    for (i, (summary, parts)) in rows.iter().enumerate() {
        let (top, own) = (36.0 + i as f64 * BAR, class(summary.variant));
        let doubt = if summary.is_sound(guard) {
            ""
        } else {
            " c-doubt"
        };
        out += &mark(
            "c-mark c-end",
            left - 8.0,
            top + 16.0,
            &summary.variant.to_string(),
        );
        let mut x = left;
        for (value, class) in parts.iter().zip(["c-bar", "c-bar c-outline"]) {
            let width = value / most * (right - left);
            out += &format!(
                r#"<rect class="{class} {own}{doubt}" x="{x:.1}" y="{top}" width="{width:.1}" height="22"/>"#
            );
            x += width;
        }
        out += &mark("c-mark", x + 6.0, top + 16.0, &values(parts));
    }
    out + "</svg>"
}

/// A dot for the ratio of a block, or an arrow to where it lies beyond the axis.
fn dot(class: &str, x: f64, y: f64, beyond: Option<f64>) -> String {
    let Some(beyond) = beyond.map(|log| 8.0 * log.signum()) else {
        return format!(r#"<circle class="c-bar {class}" cx="{x:.1}" cy="{y}" r="3.5"/>"#);
    };
    let (top, back) = (y - 5.0, -beyond);
    format!(r#"<path class="c-bar {class}" d="M{x:.1} {top:.1}l{beyond} 5 {back} 5z"/>"#)
}

/// The logarithmic axis of these ratios: what is further away than four times would push all others together.
fn axis_of<'a>(ratios: impl Iterator<Item = &'a f64>) -> Axis {
    let (low, high) = ratios
        .map(|ratio| ratio.log2())
        .fold((-0.4_f64, 0.4_f64), |(low, high), log| {
            (low.min(log), high.max(log))
        });
    let marks = [
        (-2.0, "1/4"),
        (-1.0, "1/2"),
        (0.0, "1"),
        (1.0, "2"),
        (2.0, "4"),
    ];
    Axis {
        label: "",
        marks: marks.map(|(at, text)| (at, text.into())).into(),
        from: low.max(-2.0),
        to: high.min(2.0),
    }
}

/// Every row against the baseline: a dot for each block, a bar for the interval of their median, and the word for it; on
/// a logarithmic axis; an arrow for what lies beyond it. Nothing where there are too few blocks for an interval.
fn ratios(title: &str, comparison: &Comparison, figure: Figure) -> Option<String> {
    let base = comparison.baseline()?;
    let effects = comparison
        .effects
        .iter()
        .filter(|effect| effect.figure == figure && effect.ratio.interval.is_some());
    let rows: Vec<(&Effect, &[f64])> = effects.map(|effect| (effect, &effect.ratios[..])).collect();
    let axis = axis_of(rows.iter().flat_map(|(_, ratios)| *ratios));
    let name = |effect: &Effect| row_name(effect.variant, effect.control);
    let has_direct = |(effect, _): &(&Effect, _)| comparison.direct(effect.variant).is_some();
    let or_direct = if rows.iter().any(has_direct) {
        " or direct"
    } else {
        ""
    };
    let said = |effect: &Effect| {
        format!("{} {}", short(effect.ratio.median), effect.short_word())
            .trim_end()
            .to_owned()
    };
    let widest = |text: &dyn Fn(&Effect) -> String| {
        rows.iter().map(|(e, _)| room(&text(e))).fold(0.0, f64::max)
    };
    let ends = [18.0 + widest(&name), WIDTH - 24.0 - widest(&said)];
    let text: Vec<String> = rows
        .iter()
        .map(|(effect, _)| format!("{}: {}.", name(effect), said(effect)))
        .collect();
    let across = |ratio: f64| axis.place(ratio.log2().clamp(axis.from, axis.to), ends);
    let bottom = 40.0 + rows.len() as f64 * BAR;
    let mut out = open(title, &text.join(" "), bottom + 20.0);
    for (log, text) in axis
        .marks
        .iter()
        .filter(|(log, _)| (axis.from..=axis.to).contains(log))
    {
        let x = axis.place(*log, ends);
        out += &format!(r#"<path class="c-grid" d="M{x:.1} 32V{bottom}"/>"#);
        out += &mark("c-mark c-mid", x, bottom + 13.0, text);
    }
    out += &mark(
        "c-mark",
        ends[1] + 14.0,
        bottom + 13.0,
        &format!("times {base}{or_direct}"),
    );
    for (i, (effect, ratios)) in rows.iter().enumerate() {
        let (middle, own) = (47.0 + i as f64 * BAR, class(effect.variant));
        let (from, to) = effect
            .ratio
            .interval
            .map(|(low, high)| (across(low), across(high)))?;
        out += &mark("c-mark c-end", ends[0] - 8.0, middle + 5.0, &name(effect));
        out += &format!(r#"<path class="c-line c-span {own}" d="M{from:.1} {middle}H{to:.1}"/>"#);
        for &ratio in *ratios {
            let beyond = (!(axis.from..=axis.to).contains(&ratio.log2())).then(|| ratio.log2());
            out += &dot(&own, across(ratio), middle, beyond);
        }
        out += &mark("c-mark", ends[1] + 14.0, middle + 5.0, &said(effect));
    }
    (!rows.is_empty()).then(|| out + "</svg>")
}
