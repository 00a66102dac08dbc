//! The tutorial's server, Socket.IO on Node, to compare the protocol's cost by with that of an implementation. Node has to be
//! there; npm's package is installed by its name when it is first asked for, beside what else this user has in caches.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::console;

const SCRIPT: &str = include_str!("tutorial.js");
/// The version of the package: one, for a figure to be of it.
const VERSION: &str = "4.8.4";

/// How it is started; an error says what is missing.
pub(super) fn command() -> Result<Command> {
    let folder = folder()?;
    if !is_there(&folder) {
        install(&folder)?;
    }
    let mut command = Command::new("node");
    command.args(["-e", SCRIPT]).current_dir(folder);
    Ok(command)
}

/// Where the package is kept.
fn folder() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = set("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(set("HOME")?).join(".cache")));
    Ok(cache
        .context("neither HOME nor XDG_CACHE_HOME says where npm's socket.io may be kept")?
        .join("transport-workbench"))
}

/// By what npm writes last.
fn is_there(folder: &Path) -> bool {
    let about = folder.join("node_modules/.package-lock.json");
    let about = std::fs::read_to_string(about).unwrap_or_default();
    let about: serde_json::Value = serde_json::from_str(&about).unwrap_or_default();
    about["packages"]["node_modules/socket.io"]["version"] == VERSION
}

fn install(folder: &Path) -> Result<()> {
    let (shown, package) = (folder.display(), format!("socket.io@{VERSION}"));
    console::say(&format!(
        "npm installs {package} in {shown}, for socketio-node"
    ));
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {shown}"))?;
    let mut npm = Command::new("npm");
    npm.args([
        "install",
        "--no-audit",
        "--no-fund",
        "--no-save",
        "--prefix",
    ])
    .arg(folder)
    .arg(&package)
    .stdin(Stdio::null());
    let needs = "socketio-node needs Node and npm (apt install nodejs npm)";
    let done = npm.output().context(needs)?;
    let said = String::from_utf8_lossy(&done.stderr);
    if !done.status.success() {
        bail!("npm could not install {package}: {}", said.trim_end());
    }
    ensure!(
        is_there(folder),
        "npm has installed {package}, but not in {shown}"
    );
    Ok(())
}
