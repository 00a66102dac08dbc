//! Which cores are whose: the server's are not loadgen's, where there are two.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the cores this process may use are shared out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cores {
    /// The server's.
    pub server: Vec<usize>,
    /// loadgen's.
    pub loadgen: Vec<usize>,
}

impl Cores {
    /// The first half for the server, the rest for loadgen; a single core is shared.
    pub fn split() -> Self {
        Self::of(&available())
    }

    fn of(cores: &[usize]) -> Self {
        if let [only] = cores {
            return Self { server: vec![*only], loadgen: vec![*only] };
        }
        let (server, loadgen) = cores.split_at(cores.len() / 2);
        Self { server: server.to_vec(), loadgen: loadgen.to_vec() }
    }
}

/// The cores this process may use.
pub fn available() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect();
    if cores.is_empty() { vec![0] } else { cores }
}

/// Keeps the calling thread, and what it starts from now on, on these cores. Not being allowed to is no error: the
/// environment in the report says which cores were available.
pub fn pin(cores: &[usize]) {
    let mut set = CpuSet::new();
    cores.iter().for_each(|&core| set.set(core));
    let _ = sched_setaffinity(None, &set);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_core_is_given_twice_unless_there_is_one() {
        for n in 2..9 {
            let Cores { server, loadgen } = Cores::of(&(0..n).collect::<Vec<_>>());
            assert!(!server.is_empty() && server.iter().all(|core| !loadgen.contains(core)));
            assert_eq!(server.len() + loadgen.len(), n);
        }
        assert_eq!(Cores::of(&[3]), Cores { server: vec![3], loadgen: vec![3] });
    }
}
