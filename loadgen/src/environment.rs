//! Looks at the machine and the build.

use procfs::{CpuInfo, Current, Meminfo};
use rustix::process::{Resource, getrlimit};

use crate::cores;
use crate::result::environment::{Cores, Environment};

/// Looks around.
pub fn here(pinned: Cores) -> Environment {
    let uname = rustix::system::uname();
    Environment {
        cpu: CpuInfo::current()
            .ok()
            .and_then(|cpus| cpus.model_name(0).map(Into::into))
            .unwrap_or_else(|| "unknown".into()),
        cores: cores::available().len(),
        siblings: cores::siblings(|core| {
            let path = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
            std::fs::read_to_string(path).ok()
        }),
        pinned,
        memory: Meminfo::current().map_or(0, |memory| memory.mem_total),
        kernel: format!(
            "{} {}",
            uname.sysname().to_string_lossy(),
            uname.release().to_string_lossy()
        ),
        clock: read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        ports: read("/proc/sys/net/ipv4/ip_local_port_range").replace('\t', " to "),
        descriptors: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
        version: env!("CARGO_PKG_VERSION").into(),
        commit: Some(env!("LOADGEN_COMMIT"))
            .filter(|commit| *commit != "unknown")
            .map(String::from),
        rustc: env!("LOADGEN_RUSTC").into(),
        profile: env!("LOADGEN_PROFILE").into(),
        target: env!("LOADGEN_TARGET").into(),
        optimised: !cfg!(debug_assertions),
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).map_or_else(|_| "unknown".into(), |text| text.trim().into())
}
