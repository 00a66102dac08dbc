//! Notes from what loadgen is built, so that a report can name it: asking later would name whatever lies there then.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the binary is made of, below the root of the sources: what else changes there changes nothing in it.
pub(crate) const PARTS: [&str; 9] = [
    "Cargo.toml",
    "Cargo.lock",
    "loadgen/Cargo.toml",
    "loadgen/build.rs",
    "loadgen/src",
    "loadgen/templates",
    "server/Cargo.toml",
    "server/src",
    "static",
];

fn main() {
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("..");
    let rustc = output(Command::new(variable("RUSTC")).arg("--version"));
    let facts = [
        ("COMMIT", commit(&root).unwrap_or_else(|| "unknown".into())),
        ("RUSTC", rustc.unwrap_or_else(|| "unknown".into())),
        ("PROFILE", profile(Path::new(&variable("OUT_DIR")))),
        ("TARGET", variable("TARGET")),
    ];
    for (name, fact) in facts {
        println!("cargo::rustc-env=LOADGEN_{name}={fact}");
    }
    for path in PARTS
        .iter()
        .map(|part| root.join(part))
        .chain(moves(&root))
        .filter(|path| path.exists())
    {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}

/// The commit of the sources, `-dirty` if what is built is not what it has; nothing where they are no checkout.
pub(crate) fn commit(root: &Path) -> Option<String> {
    // A tarball may lie in somebody else's checkout.
    let top = PathBuf::from(git(root, &["rev-parse", "--show-toplevel"])?);
    if top.canonicalize().ok()? != root.canonicalize().ok()? {
        return None;
    }
    let commit = git(root, &["rev-parse", "--short", "HEAD"])?;
    let changes = git(
        root,
        &[&["status", "--porcelain", "--"][..], &PARTS].concat(),
    )?;
    Some(if changes.is_empty() {
        commit
    } else {
        format!("{commit}-dirty")
    })
}

/// The files that tell that another commit has been checked out, or made: they are not touched otherwise, so that
/// nothing is built anew without need.
pub(crate) fn moves(root: &Path) -> Vec<PathBuf> {
    let branch = git(root, &["symbolic-ref", "--quiet", "HEAD"]);
    // The log of HEAD grows with every commit, also where the branch has no file of its own.
    let names = ["HEAD", "logs/HEAD", "packed-refs"]
        .into_iter()
        .chain(branch.as_deref());
    names
        .filter_map(|name| Some(root.join(git(root, &["rev-parse", "--git-path", name])?)))
        .collect()
}

/// The name of the profile: Cargo tells only which of its own it is derived from, but builds each in its own folder.
pub(crate) fn profile(out: &Path) -> String {
    let folder = out
        .ancestors()
        .find(|folder| folder.ends_with("build"))
        .and_then(Path::parent);
    let name = folder
        .and_then(Path::file_name)
        .map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "unknown".into())
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    output(Command::new("git").arg("-C").arg(root).args(arguments))
}

fn output(command: &mut Command) -> Option<String> {
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
