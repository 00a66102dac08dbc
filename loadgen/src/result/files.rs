//! The files of a result.

/// The file that everything else is rendered from.
pub const DATA: &str = "comparison.json";

/// A file that a result's folder may have.
#[derive(Debug, Clone, Copy)]
pub struct ResultFile {
    /// Its name.
    pub name: &'static str,
    /// What stands near its beginning in every version: by this a report is known to be loadgen's.
    pub mark: &'static str,
}

/// Every file that a result's folder may have: none other is written.
pub const FILES: &[ResultFile] = &[
    ResultFile {
        name: DATA,
        mark: "\"schema\":",
    },
    ResultFile {
        name: "comparison.md",
        mark: "# Transports compared",
    },
    ResultFile {
        name: "comparison.html",
        mark: "<title>Transports compared</title>",
    },
    ResultFile {
        name: "latency.hlog",
        mark: "#latency in microseconds",
    },
    ResultFile {
        name: "comparison.csv",
        mark: "trial,row,block,control,started,",
    },
    ResultFile {
        name: "seconds.csv",
        mark: "trial,row,block,control,verdict,",
    },
    chart("latency.svg"),
    chart("deliveries.svg"),
    chart("cpu.svg"),
    chart("bytes.svg"),
    chart("memory.svg"),
    chart("ratios-p50.svg"),
    chart("ratios-cpu.svg"),
];

const fn chart(name: &'static str) -> ResultFile {
    ResultFile {
        name,
        mark: "role=\"img\" class=\"chart\"><title>",
    }
}
