//! A proxy that stands before a server: which, of which version, and how it was configured.

use clap::ValueEnum;
use derive_more::Display;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The proxies that can be started.
#[derive(
    ValueEnum, Serialize, Deserialize, JsonSchema, Display, Debug, Clone, Copy, PartialEq, Eq, Hash,
)]
#[serde(rename_all = "kebab-case")]
#[display(rename_all = "kebab-case")]
pub enum Proxy {
    /// nginx, with a master and one worker.
    Nginx,
    /// HAProxy, with one thread.
    Haproxy,
}

/// The proxy of a comparison, as it was started before a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Configured {
    /// Which.
    pub proxy: Proxy,
    /// Its version, in its own words.
    pub version: String,
    /// Its configuration, line by line, with `ADDRESS` for where it listens, `SERVER` for the server's address and `FOLDER` for a
    /// folder of its own.
    pub configuration: Vec<String>,
}

impl Configured {
    /// What people are told above its configuration.
    pub fn sentence(&self) -> String {
        let Self { proxy, version, .. } = self;
        let parts = match proxy {
            Proxy::Nginx => "a master and one worker",
            Proxy::Haproxy => "one process with one thread",
        };
        format!(
            "{proxy} {version}, {parts} before each server, on the server's cores, and configured like this:"
        )
    }
}
