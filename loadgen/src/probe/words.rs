//! What a person reads: what was found, which transports are safe, and what to change.

use super::advice::{Advice, Problem, heartbeat, keeps, measured, time};
use super::findings::{End, Fate, Findings, Header, Page, Upgrade, Wait};
use super::remedies::settings;
use crate::foreign::spelled;
use crate::result::variant::Transport;
use crate::result::words::count;

/// Labels are as wide as this.
const LABEL: usize = 16;
/// Names of products.
const PRODUCT: usize = 14;

/// All of it, for lines of this width.
pub(super) fn text(found: &Findings, advice: &Advice, width: usize) -> String {
    let mut out = String::new();
    let mut say = |label: &str, indent: usize, text: &str| {
        let label = format!("{label:<indent$}");
        out.push_str(&wrapped(&label, text, width));
    };
    say("", 0, &format!("The path to {}", found.url));
    if found.interrupted {
        say(
            "  ",
            2,
            "It was ended early: what was not reached is unknown.",
        );
    }
    for (label, text) in path(found) {
        say(&format!("  {label}"), LABEL, &text);
    }
    if !found.waits.is_empty() {
        say("", 0, "");
        let up_to = time(found.up_to_s);
        say(
            "",
            0,
            &format!("Connections that were left open, up to {up_to}"),
        );
        for wait in &found.waits {
            say(&format!("  {}", name(wait)), LABEL + 10, &fate(found, wait));
        }
    }
    say("", 0, "");
    say("", 0, "Which transports are safe here");
    for verdict in &advice.transports {
        let so = match verdict.safe {
            Some(true) => "safe",
            Some(false) => "NOT SAFE",
            None => "unknown",
        };
        let text = format!("{so}: {}", verdict.said);
        say(&format!("  {}", verdict.transport), LABEL, &text);
    }
    for problem in &advice.problems {
        say("", 0, "");
        say("", 0, &headline(problem));
        for (product, line) in lines(found, problem) {
            say(&format!("  {product}"), PRODUCT + 2, &line);
        }
    }
    if advice
        .problems
        .iter()
        .any(|it| !settings(it.kind).is_empty())
    {
        say("", 0, "");
        say(
            "",
            0,
            "Where each maker documents its setting: docs/operations.md, or --json.",
        );
    }
    out
}

fn headline(problem: &Problem) -> String {
    let transports: Vec<String> = problem
        .transports
        .iter()
        .map(Transport::to_string)
        .collect();
    let change = if settings(problem.kind).is_empty() {
        ""
    } else {
        " To change, one of these:"
    };
    format!("{}: {}.{change}", transports.join(", "), problem.said)
}

/// What can be changed: the server's own way first, then the product that has answered, then the others.
pub(super) fn lines(found: &Findings, problem: &Problem) -> Vec<(&'static str, String)> {
    let server = found
        .answers
        .as_ref()
        .and_then(|answers| answers.server.as_deref())
        .unwrap_or_default();
    let mut settings: Vec<_> = settings(problem.kind).iter().collect();
    settings.sort_by_key(|setting| !setting.is_of(server));
    let own = problem
        .instead
        .iter()
        .map(|instead| ("workbench", instead.clone()));
    own.chain(
        settings
            .into_iter()
            .map(|setting| (setting.product, setting.line(problem.time_s))),
    )
    .collect()
}

/// What was found of the path, a line for each.
fn path(found: &Findings) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(answers) = &found.answers {
        let server = answers.server.as_ref();
        let server = server.map(|name| format!(", with `Server: {name}`"));
        let text = format!("{}{}", answers.version, server.unwrap_or_default());
        lines.push(("answers", text));
    }
    if let Some(servers) = &found.servers {
        let different = count(servers.different as u64, "server");
        let verb = if servers.different == 1 {
            "answers"
        } else {
            "answer"
        };
        let asked = count(servers.asked.into(), "new connection");
        let cursor = match servers.cursor_unknown {
            0 => "",
            _ => "; a cursor of one is unknown at another",
        };
        lines.push((
            "servers",
            format!("{different} {verb}, over {asked}{cursor}"),
        ));
    }
    let page = found.page.as_ref().map(|page| match page {
        Page::Accepted => "messages of pages of this address are taken".into(),
        Page::Foreign { status, .. } => {
            format!("messages of pages of this address get {status}; of programs they are taken")
        }
        Page::Refused { says } => format!("no message is taken: {says}"),
    });
    lines.extend(page.map(|text| ("publishing", text)));
    let upgrade = found.upgrade.as_ref().map(|upgrade| match upgrade {
        Upgrade::Passed => "passes: 101, and the server's first message".into(),
        Upgrade::Answered { status, says } => format!("{status} instead of 101: {says}"),
        Upgrade::Ended { how } => format!("fails: {how}"),
    });
    lines.extend(upgrade.map(|text| ("upgrade", text)));
    if let Some(stream) = &found.stream {
        let ms = |time: Option<f64>| {
            time.map_or("not within 5 s".into(), |ms| format!("after {ms:.1} ms"))
        };
        let text = match stream.status {
            Some(status) => format!("{status} instead of 200"),
            None => format!(
                "first event {}, a later message {}; the server's heartbeat is {}",
                ms(stream.first_ms),
                ms(stream.message_ms),
                time(heartbeat(found))
            ),
        };
        lines.push(("event stream", text));
    }
    lines.extend(headers(found).map(|text| ("headers", text)));
    lines
}

fn headers(found: &Findings) -> Option<String> {
    // nginx takes the headers that are meant for it.
    let is_kept =
        |header: &&Header| header.name == "x-accel-buffering" && header.fate == Fate::Lost;
    let of = |wanted: fn(&Fate) -> bool| {
        let mut names: Vec<&str> = found
            .headers
            .iter()
            .filter(|header| wanted(&header.fate) && !is_kept(header))
            .map(|header| header.name)
            .collect();
        names.sort_unstable();
        names.dedup();
        names.join(", ")
    };
    let passed = of(|fate| *fate == Fate::Passed);
    let lost = of(|fate| *fate == Fate::Lost);
    let changed = of(|fate| matches!(fate, Fate::Changed { .. }));
    let parts = [(passed, "arrive"), (lost, "lost"), (changed, "changed")];
    let mut said: Vec<String> = parts
        .into_iter()
        .filter(|(names, _)| !names.is_empty())
        .map(|(names, so)| format!("{so}: {names}"))
        .collect();
    if found.headers.iter().any(|header| is_kept(&header)) {
        said.push("x-accel-buffering is kept by what it is for, nginx".into());
    }
    (!said.is_empty()).then(|| said.join("; "))
}

fn name(wait: &Wait) -> String {
    match (wait.transport, wait.heartbeat_s) {
        (Transport::LongPoll, _) => "long-poll, held".into(),
        (transport, None) => format!("{transport}, silent"),
        (transport, Some(heartbeat)) => format!("{transport}, heartbeat {}", time(heartbeat)),
    }
}

/// How a connection ended, as its client sees it.
fn fate(found: &Findings, wait: &Wait) -> String {
    let open = measured(wait.open_s);
    let text = match (&wait.end, wait.transport) {
        (End::Lived, Transport::LongPoll) => {
            format!("answered by the server after {open}, as asked")
        }
        (End::Lived, _) if keeps(found, wait) == Some(false) => {
            format!("lived {open}, by luck: it is too close to the cut")
        }
        (End::Lived, _) => format!("lived {open}, to the end"),
        (End::StillOpen, _) => "still open when this was ended".into(),
        (End::NotOpened { .. }, _) => wait.end.to_string(),
        (End::Fin, Transport::Ws) => {
            format!("cut after {open}: FIN without a close frame, which a page sees as code 1006")
        }
        (End::Fin, Transport::Sse) => {
            format!("cut after {open}: FIN, upon which a page's EventSource connects again")
        }
        (end, _) => format!("cut after {open}: {end}"),
    };
    if wait.end.is_cut() && wait.heartbeat_s.is_some() {
        let (beats, silent) = (count(wait.beats.into(), "beat"), measured(wait.silent_s));
        return format!("{text}; {beats} had come, the last thing {silent} before");
    }
    text
}

/// A text behind a label, in lines of this width; those after the first begin below the text.
fn wrapped(label: &str, text: &str, width: usize) -> String {
    let indent = label.chars().count();
    let (mut out, mut column) = (spelled(label).into_owned(), indent);
    for (n, word) in spelled(text).split(' ').enumerate() {
        let length = word.chars().count();
        if n > 0 && column + 1 + length > width {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else if n > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_go_on_below_their_beginning_and_what_steers_a_terminal_is_spelled_out() {
        assert_eq!(
            wrapped("  a   ", "one two three", 14),
            "  a   one two\n      three\n"
        );
        assert_eq!(wrapped("", "\u{1b}[31mred", 80), "\\u{1b}[31mred\n");
        assert_eq!(wrapped("", "", 80), "\n");
    }
}
