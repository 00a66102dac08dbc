//! Which cores are whose: the server's are not loadgen's, where there are two.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::result::environment::Cores;

/// The first half for the server, the rest for loadgen; a single core is shared.
pub fn split() -> Cores {
    divide(&available())
}

fn divide(cores: &[usize]) -> Cores {
    if let [only] = cores {
        return Cores {
            server: vec![*only],
            loadgen: vec![*only],
        };
    }
    let (server, loadgen) = cores.split_at(cores.len() / 2);
    Cores {
        server: server.to_vec(),
        loadgen: loadgen.to_vec(),
    }
}

/// The cores this process may use.
pub fn available() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|&core| set.is_set(core))
        .collect();
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
            let Cores { server, loadgen } = divide(&(0..n).collect::<Vec<_>>());
            assert!(!server.is_empty() && server.iter().all(|core| !loadgen.contains(core)));
            assert_eq!(server.len() + loadgen.len(), n);
        }
        assert_eq!(
            divide(&[3]),
            Cores {
                server: vec![3],
                loadgen: vec![3]
            }
        );
    }
}
