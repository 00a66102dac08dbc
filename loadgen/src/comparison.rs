//! Comparisons begin here, and are read from their files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::error::Category;

use crate::result::comparison::{Comparison, SCHEMA};
use crate::result::files::DATA;
use crate::result::scenario::Scenario;
use crate::result::variant::Variant;
use crate::{cores, environment, shell};

mod saved;

/// Fewer blocks carry no interval, so a control in each of them would be of no use.
const CONTROL_FROM: usize = 8;

/// One that begins now, of trials that each start their own server, on this machine; none has run yet.
pub fn begin(
    variants: Vec<Variant>,
    blocks: usize,
    mut scenario: Scenario,
    mut command: String,
) -> Comparison {
    // What the defaults were is kept, not that they were taken.
    (scenario.warmup, scenario.duration) = (Some(scenario.warmup()), Some(scenario.duration()));
    if scenario.seed.is_none() {
        // Short enough to be typed.
        let seed = fastrand::u64(..1_000_000);
        scenario.seed = Some(seed);
        command += &format!(" --seed {seed}");
    }
    Comparison {
        schema: SCHEMA,
        started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        command,
        environment: environment::here(cores::split()),
        target: None,
        variants,
        blocks,
        rounds: None,
        together: 1,
        server_flags: Vec::new(),
        proxy: None,
        control: blocks >= CONTROL_FROM,
        scenario,
        trials: Vec::new(),
        calibration: None,
        effects: Vec::new(),
        components: Vec::new(),
        tails: Vec::new(),
        contrasts: Vec::new(),
        known_answers: Vec::new(),
    }
}

/// Reads the JSON of a folder, or this JSON.
pub fn load(path: &Path) -> Result<Comparison> {
    let path = data_file(path)?;
    let json = fs::read(&path).with_context(|| expected(&path))?;
    parse(&json).with_context(|| shell::path(&path))
}

fn expected(path: &Path) -> String {
    format!(
        "cannot read {}; expected a folder that loadgen has written, or its {DATA}",
        shell::path(path)
    )
}

/// The JSON of a folder, or this file itself.
pub fn data_file(path: &Path) -> Result<PathBuf> {
    let metadata = fs::metadata(path).with_context(|| expected(path))?;
    ensure!(
        metadata.is_dir() || metadata.is_file(),
        "{}: it is neither a folder nor a file",
        expected(path)
    );
    Ok(if metadata.is_dir() {
        path.join(DATA)
    } else {
        path.into()
    })
}

/// What every version has.
#[derive(Deserialize)]
struct Head {
    schema: u32,
    environment: WrittenBy,
}

/// The loadgen that wrote a result.
#[derive(Deserialize)]
struct WrittenBy {
    version: String,
    commit: Option<String>,
}

/// Takes a result from its JSON, or says what the JSON is instead.
fn parse(json: &[u8]) -> Result<Comparison> {
    ensure!(!json.trim_ascii().is_empty(), "the file is empty");
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(json) {
        match error.classify() {
            Category::Eof => bail!(
                "the file is truncated: it ends at byte {}, within the JSON",
                json.len()
            ),
            _ => bail!("the file is not JSON: {error}"),
        }
    }
    let Ok(Head {
        schema,
        environment: WrittenBy { version, commit },
    }) = serde_json::from_slice(json)
    else {
        bail!(
            "the file is JSON, but not a result of loadgen, which has \"schema\" and \"environment\""
        );
    };
    let (own, commit) = (
        env!("CARGO_PKG_VERSION"),
        commit.map_or(String::new(), |commit| format!(" ({commit})")),
    );
    ensure!(
        schema == SCHEMA,
        "schema {schema}, written by loadgen {version}{commit}, which reads it; this loadgen {own} reads schema {SCHEMA}"
    );
    saved::parse(json).with_context(|| format!("schema {SCHEMA}, but not as loadgen writes it"))
}
