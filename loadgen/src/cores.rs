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

/// Which of the cores that this process may use are threads of one physical core, each physical core once; `list` is what the
/// kernel says of one, such as `0-1` or `0,4`. Nothing if it does not say it of all.
pub fn siblings(list: impl Fn(usize) -> Option<String>) -> Option<Vec<Vec<usize>>> {
    let own = available();
    let of = |core: &usize| {
        Some(
            parse(&list(*core)?)?
                .into_iter()
                .filter(|core| own.contains(core)),
        )
    };
    let mut all = own
        .iter()
        .map(|core| Some(of(core)?.collect()))
        .collect::<Option<Vec<Vec<usize>>>>()?;
    all.sort_unstable();
    all.dedup();
    Some(all)
}

/// Reads a list of the kernel's.
fn parse(list: &str) -> Option<Vec<usize>> {
    let range = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some(from.parse().ok()?..=to.parse().ok()?)
    };
    let ranges: Option<Vec<_>> = list.trim().split(',').map(range).collect();
    Some(ranges?.into_iter().flatten().collect())
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
    fn threads_of_one_core_are_told_as_the_kernel_lists_them() {
        let own = available();
        let alone: Vec<Vec<usize>> = own.iter().map(|core| vec![*core]).collect();
        assert_eq!(siblings(|core| Some(format!("{core}\n"))), Some(alone));
        let list = own
            .iter()
            .map(usize::to_string)
            .collect::<Vec<_>>()
            .join(",");
        assert_eq!(siblings(|_| Some(list.clone())), Some(vec![own]));
        assert_eq!(siblings(|_| None), None);
        assert_eq!(parse("0-2,8\n"), Some(vec![0, 1, 2, 8]));
        assert_eq!((parse(""), parse("a-b")), (None, None));
    }

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
