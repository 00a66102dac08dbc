//! What people mean who type a command line that cannot be.

use clap::ValueEnum;

use crate::result::variant::Transport;

/// What would be right, if that can be guessed from the arguments and from what was said to be wrong with them.
pub fn hint(arguments: &[String], wrong: &str) -> Option<String> {
    let place = |word: &str| arguments.iter().position(|argument| argument == word);
    let is_transport = |word: &&String| Transport::from_str(word, true).is_ok();
    let modes = place("--mode")
        .or_else(|| place("-m"))
        .map(|flag| &arguments[flag + 1..])
        .unwrap_or_default();
    let modes: Vec<&str> = modes
        .iter()
        .take_while(is_transport)
        .map(String::as_str)
        .collect();
    if modes.len() > 1 {
        return Some(format!(
            "separate the transports by commas: loadgen compare --mode {}",
            modes.join(",")
        ));
    }
    let is_wrong = |word: &str| wrong.contains(&format!("'{word}'"));
    if place("compare") > Some(0) && is_wrong("compare") {
        return Some("compare comes first: loadgen compare, and its flags after it".into());
    }
    if place("compare").is_none()
        && ["--sets", "--budget", "--blocks", "--standard", "--thorough"]
            .into_iter()
            .any(is_wrong)
    {
        return Some("only a comparison has sets or blocks: loadgen compare".into());
    }
    let bare = arguments
        .iter()
        .find(|word| word.parse::<f64>().is_ok() && is_wrong(word));
    bare.filter(|_| wrong.contains("must be a time"))
        .map(|word| format!("a time has a unit: {word}s, {word}ms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_said() {
        for (line, wrong, said) in [
            (
                "--mode ws compare",
                "'compare' cannot be used with '--mode <MODE>'",
                Some("compare comes first"),
            ),
            (
                "compare --mode ws sse",
                "unexpected argument 'sse'",
                Some("loadgen compare --mode ws,sse"),
            ),
            (
                "compare -m ws longpoll --blocks 2",
                "unexpected argument 'longpoll'",
                Some("--mode ws,longpoll"),
            ),
            (
                "-m ws --blocks 3",
                "unexpected argument '--blocks' found",
                Some("loadgen compare"),
            ),
            (
                "-m ws -z 5",
                "invalid value '5' for '--duration <TIME>': must be a time from",
                Some("5s"),
            ),
            (
                "-m ws -c 0",
                "invalid value '0' for '--clients <N>': must be a whole number",
                None,
            ),
            (
                "-m ws --out compare --bogus",
                "unexpected argument '--bogus' found",
                None,
            ),
            (
                "compare --block 3",
                "unexpected argument '--block' found",
                None,
            ),
            ("", "", None),
        ] {
            let arguments: Vec<String> = line.split_whitespace().map(String::from).collect();
            let hint = hint(&arguments, wrong);
            assert_eq!(hint.is_some(), said.is_some(), "{line}: {hint:?}");
            assert!(
                hint.as_deref()
                    .unwrap_or_default()
                    .contains(said.unwrap_or_default()),
                "{line}: {hint:?}"
            );
        }
    }

    #[test]
    fn other_names_of_a_transport_are_taken() {
        for (name, transport) in [
            ("WS", Transport::Ws),
            ("websocket", Transport::Ws),
            ("longpoll", Transport::LongPoll),
            ("long-polling", Transport::LongPoll),
            ("polling", Transport::ShortPoll),
            ("shortpoll", Transport::ShortPoll),
            ("EventSource", Transport::Sse),
        ] {
            assert_eq!(Transport::from_str(name, true), Ok(transport), "{name}");
        }
    }
}
