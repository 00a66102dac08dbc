//! On what a result was measured: without it a figure means nothing.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::words::count;

/// The machine and the build.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Environment {
    /// The processor's name.
    pub cpu: String,
    /// How many cores this process may use.
    pub cores: usize,
    /// Which cores were whose.
    pub pinned: Cores,
    /// Which of them are threads of one physical core, and share what it can do; unknown where the kernel does not tell.
    #[serde(default)]
    pub siblings: Option<Vec<Vec<usize>>>,
    /// Memory, in bytes.
    pub memory: u64,
    /// The kernel.
    pub kernel: String,
    /// What the kernel takes the time from.
    pub clock: String,
    /// Ports that connections may come from.
    pub ports: String,
    /// Files this process may open.
    pub descriptors: u64,
    /// loadgen's version.
    pub version: String,
    /// The commit it was built from, with `-dirty` if the sources were not as it has them; none if they were no checkout.
    pub commit: Option<String>,
    /// The compiler it was built with.
    #[serde(default)]
    pub rustc: String,
    /// The profile it was built with.
    #[serde(default)]
    pub profile: String,
    /// What it was built for.
    #[serde(default)]
    pub target: String,
    /// Whether loadgen was built with optimisation; without it no figure means anything.
    pub optimised: bool,
}

impl Environment {
    /// Whether server and loadgen have threads of one physical core.
    pub fn are_siblings(&self) -> Option<bool> {
        let Cores { server, loadgen } = &self.pinned;
        let has = |core: &[usize], of: &[usize]| core.iter().any(|core| of.contains(core));
        let siblings = self.siblings.as_ref()?;
        Some(
            siblings
                .iter()
                .any(|core| has(core, server) && has(core, loadgen)),
        )
    }

    /// The machine in a few words.
    pub fn machine(&self) -> String {
        format!("{} of {}", count(self.cores as u64, "core"), self.cpu)
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pinned,
            memory,
            kernel,
            clock,
            version,
            commit,
            optimised,
            ..
        } = self;
        let (memory, commit) = (
            *memory as f64 / f64::from(1 << 30),
            commit.as_deref().unwrap_or("unknown commit"),
        );
        // Nothing is said of it in older files.
        let build = [&self.profile, &self.rustc, &self.target]
            .map(String::as_str)
            .into_iter();
        let build: Vec<&str> = [commit]
            .into_iter()
            .chain(build.filter(|fact| !fact.is_empty()))
            .collect();
        let build = build.join(", ");
        write!(
            f,
            "On {}, {memory:.0} GiB, {kernel}, clock {clock}; loadgen {version} ({build}); ",
            self.machine()
        )?;
        let Cores { server, loadgen } = pinned;
        match server.as_slice() {
            [] => write!(f, "loadgen on cores {loadgen:?}, the server where it was.")?,
            _ if server == loadgen => {
                f.write_str("server and loadgen shared a core and took time from each other.")?;
            }
            _ => write!(f, "server on cores {server:?}, loadgen on {loadgen:?}.")?,
        }
        let (both, unknown) = (
            " Both have threads of one physical core, and slow each other down.",
            " Whether these are threads of one physical core is unknown.",
        );
        f.write_str(match self.are_siblings() {
            Some(true) if server != loadgen => both,
            None if server != loadgen => unknown,
            _ => "",
        })?;
        f.write_str(if *optimised {
            ""
        } else {
            " Built without optimisation: no figure means anything."
        })
    }
}

/// How the cores this process may use are shared out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cores {
    /// The server's.
    pub server: Vec<usize>,
    /// loadgen's.
    pub loadgen: Vec<usize>,
}

impl Cores {
    /// All that are in use, each once.
    pub fn used(&self) -> Vec<usize> {
        let mut used = [&self.server[..], &self.loadgen].concat();
        used.sort_unstable();
        used.dedup();
        used
    }
}
