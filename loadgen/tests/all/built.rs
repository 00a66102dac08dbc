//! A report names what was built, and not what lies in the sources' folder when it is measured.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::helper::{Folder, loadgen};

#[path = "../../build.rs"]
#[allow(dead_code, reason = "its main runs when loadgen is built")]
mod build;

fn git(folder: &Path, arguments: &[&str]) {
    let identity = [
        "-c",
        "user.name=test",
        "-c",
        "user.email=test@localhost",
        "-c",
        "init.defaultBranch=main",
    ];
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(identity)
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

#[test]
fn the_commit_is_that_of_the_sources_and_changes_in_what_is_built_are_said() {
    let folder = Folder::new("built");
    let root = &folder.0.join("checkout");
    let write = |name: &str, text: &str| {
        fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        fs::write(root.join(name), text).unwrap();
    };
    build::PARTS.iter().for_each(|part| {
        write(
            &format!("{part}{}", if part.contains('.') { "" } else { "/x.rs" }),
            "1",
        );
    });
    write("README.md", "1");
    assert_eq!(build::commit(root), None, "no checkout");
    git(root, &["init", "--quiet"]);
    assert_eq!(build::commit(root), None, "no commit");
    git(root, &["add", "."]);
    git(root, &["commit", "--quiet", "-m", "one"]);
    let first = build::commit(root).unwrap();
    assert!(
        first.len() >= 7 && first.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{first}"
    );

    write("README.md", "2");
    assert_eq!(
        build::commit(root).as_ref(),
        Some(&first),
        "what is not built does not count"
    );
    write("server/src/x.rs", "2");
    assert_eq!(build::commit(root), Some(format!("{first}-dirty")));
    git(root, &["checkout", "--quiet", "server"]);
    write("loadgen/src/new.rs", "1");
    assert_eq!(
        build::commit(root),
        Some(format!("{first}-dirty")),
        "nor is a new file in the commit"
    );

    let moves = || {
        build::moves(root)
            .into_iter()
            .filter_map(|path| Some((fs::read(&path).ok()?, path)))
            .collect::<Vec<_>>()
    };
    git(root, &["pack-refs", "--all"]);
    let before = moves();
    git(root, &["add", "."]);
    git(root, &["commit", "--quiet", "-m", "two"]);
    assert_ne!(
        build::commit(root),
        Some(first),
        "another commit has another name"
    );
    assert_ne!(
        moves(),
        before,
        "and is noticed, though the branch had no file"
    );

    // Unpacked in somebody else's checkout.
    let tarball = root.join("unpacked");
    fs::create_dir_all(tarball.join("loadgen/src")).unwrap();
    assert_eq!(build::commit(&tarball), None);
}

#[test]
fn a_profile_is_named_after_its_own_folder() {
    for (out, name) in [
        ("/x/target/debug/build/loadgen-1/out", "debug"),
        ("/x/target/dist/build/loadgen-1/out", "dist"),
        (
            "/x/target/x86_64-unknown-linux-gnu/release/build/loadgen-1/out",
            "release",
        ),
        ("", "unknown"),
    ] {
        assert_eq!(build::profile(Path::new(out)), name);
    }
}

#[test]
fn git_is_not_asked_when_measuring() {
    let folder = Folder::new("asked");
    let (git, mark) = (folder.0.join("git"), folder.0.join("mark"));
    fs::write(
        &git,
        format!(
            "#!/bin/sh\necho asked >> {}\necho 0badc0de\n",
            mark.display()
        ),
    )
    .unwrap();
    fs::set_permissions(&git, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!(
        "{}:{}",
        folder.0.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    // Where nothing answers: what is said of the environment is known before.
    let output = loadgen("--mode ws --url http://127.0.0.1:1")
        .env("PATH", path)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(!mark.exists(), "it has asked git");
    let built = loadgen::environment::here(loadgen::cores::split());
    assert!(
        built.rustc.starts_with("rustc 1.")
            && !built.profile.is_empty()
            && built.target.contains('-'),
        "{built:?}"
    );
    let is_commit = |text: &String| {
        text.trim_end_matches("-dirty")
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit())
    };
    assert!(built.commit.as_ref().is_none_or(is_commit), "{built:?}");
}
