//! One word for each thing, the field's own: those that were here before do not come back.

use std::fs;
use std::path::{Path, PathBuf};

/// Words that go, and what is said instead.
const GONE: [(&str, &str); 10] = [
    ("twin", "A/A control"),
    ("dwell", "client receive delay"),
    ("owed", "expected"),
    ("sut", "target"),
    ("fleet", "subscribers"),
    ("press", "publishers"),
    ("dearer", "more CPU"),
    ("ledger", "resource usage"),
    ("trifle", "negligible"),
    ("gate", "validity check"),
];
/// What tells of them.
const TELLS: [&str; 2] = ["words.rs", "CHANGELOG.md"];
/// The race has lanes; nothing else has.
const RACE: [&str; 10] = [
    "race",
    "tap",
    "tally.js",
    "style.css",
    "transports.js",
    "index.html",
    "pages.",
    "timeline.rs",
    "crowd.js",
    "words.rs",
];

/// Every text of the project; what was measured is not its own.
fn texts() -> Vec<PathBuf> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders: Vec<PathBuf> = ["server", "loadgen", "static", "docs"]
        .map(|name| top.join(name))
        .into();
    let mut found: Vec<PathBuf> = files(&top)
        .filter(|path| path.extension().is_some_and(|kind| kind == "md"))
        .collect();
    found.push(top.join("test.sh"));
    while let Some(folder) = folders.pop() {
        folders.extend(files(&folder).filter(|path| path.is_dir()));
        found.extend(files(&folder).filter(|path| path.is_file()));
    }
    found
}

fn files(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
}

/// The words of a text in small letters, names taken apart: `fooBar` and `foo_bar` are two.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_small = false;
    for c in text.chars() {
        if !c.is_ascii_alphabetic() || (c.is_ascii_uppercase() && was_small) {
            words.push(String::new());
        }
        was_small = c.is_ascii_lowercase();
        if c.is_ascii_alphabetic() {
            words.last_mut().unwrap().push(c.to_ascii_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn is_one_of_them(word: &str, gone: &str) -> bool {
    word == gone || word.strip_suffix('s') == Some(gone)
}

#[test]
fn words_that_went_do_not_come_back() {
    let mut wrong = Vec::new();
    for path in texts() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let is_race = path.iter().any(|part| {
            RACE.iter()
                .any(|race| part.to_string_lossy().starts_with(race))
        });
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        for (n, line) in (1..).zip(text.lines()) {
            for word in words(line) {
                let gone = GONE
                    .iter()
                    .filter(|_| !TELLS.contains(&name.as_str()))
                    .find(|(gone, _)| is_one_of_them(&word, gone));
                wrong.extend(
                    gone.map(|(gone, right)| format!("{}:{n}: {gone} is {right}", path.display())),
                );
                if is_one_of_them(&word, "lane") && !is_race && !TELLS.contains(&name.as_str()) {
                    wrong.push(format!(
                        "{}:{n}: a lane is a variant, but in the race",
                        path.display()
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_are_taken_apart_and_longer_words_are_others() {
    assert_eq!(
        words("let theFleet_size = PRESS; // compressed"),
        ["let", "the", "fleet", "size", "press", "compressed"]
    );
    assert!(is_one_of_them("gates", "gate") && !is_one_of_them("surrogate", "gate"));
}
