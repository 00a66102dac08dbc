//! The comparison that is committed: its reports are those of its data, and the README quotes it.

use std::fs;
use std::path::{Path, PathBuf};

use loadgen::comparison::load;
use loadgen::report;
use loadgen::result::files::{DATA, FILES};

use crate::helper::beside;

fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_reports_of_the_reference_are_those_of_its_json_and_the_readme_has_its_figures() {
    let _turn = beside();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let reference = root.join("results/reference");
    let comparison = load(&reference).expect("measure it anew: loadgen compare");
    let rendered = report::render(&comparison).unwrap();
    for (name, now) in &rendered {
        let committed = fs::read_to_string(reference.join(name)).unwrap_or_default();
        assert!(
            *now == committed,
            "{name}: render it anew: loadgen report results/reference"
        );
    }
    // With its control it has every kind of file that there is.
    assert!(
        [DATA]
            .into_iter()
            .chain(rendered.iter().map(|(name, _)| *name))
            .eq(FILES.iter().map(|file| file.name))
    );
    for file in FILES {
        let text = fs::read_to_string(reference.join(file.name)).unwrap();
        assert!(
            text.get(..1000).unwrap().contains(file.mark),
            "{}: its mark tells that it is loadgen's",
            file.name
        );
    }

    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let report = fs::read_to_string(reference.join("comparison.md")).unwrap();
    let theirs: Vec<String> = report.lines().map(words).collect();
    let mut quoted = readme
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'));
    let (head, _rule) = (quoted.next().unwrap(), quoted.next().unwrap());
    let figures: Vec<&str> = std::iter::once(head).chain(quoted).collect();
    assert!(figures.len() > 10, "the first table of the README");
    for line in figures {
        assert!(
            theirs.contains(&words(line)),
            "not in results/reference/comparison.md: {line}"
        );
    }
    let cpu = &comparison.environment.cpu;
    assert!(
        readme.contains(cpu.as_str()),
        "the README says on which CPU that was: {cpu}"
    );
}

/// The documents that people read, by their paths from the root.
fn documents(root: &Path) -> Vec<PathBuf> {
    let is_text = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "md");
    let of = |folder: &str| {
        fs::read_dir(root.join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().path())
    };
    of("").chain(of("docs")).filter(is_text).collect()
}

#[test]
fn every_document_leads_where_it_says_and_the_first_one_is_short() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let documents = documents(&root);
    assert!(documents.len() > 6, "{documents:?}");
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        let links = text
            .split("](")
            .skip(1)
            .map(|rest| rest.split(')').next().unwrap());
        for link in links.filter(|link| !link.starts_with("http")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let path = document.parent().unwrap().join(file);
            let other = fs::read_to_string(&path).unwrap_or_default();
            assert!(path.exists(), "{}: {link}", document.display());
            let heads = other.lines().filter_map(|line| line.strip_prefix("## "));
            let is_there = heads
                .map(|head| head.to_lowercase().replace(' ', "-"))
                .any(|head| head == heading);
            assert!(
                heading.is_empty() || is_there,
                "{}: {link}",
                document.display()
            );
        }
    }
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let is_prose = |line: &&str| {
        !["|", "    ", "!["]
            .iter()
            .any(|mark| line.starts_with(mark))
    };
    let words: usize = readme
        .lines()
        .filter(is_prose)
        .map(|line| line.split_whitespace().count())
        .sum();
    assert!(words <= 600, "{words} words in the README");
    let first = readme
        .lines()
        .position(|line| line.starts_with("    cargo run"))
        .unwrap();
    assert!(first < 20, "the first command is in line {first}");
}
