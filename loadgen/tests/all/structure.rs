//! The one rule of the tree that the compiler does not check: loadgen measures from outside.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the sources are there").map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

#[test]
fn only_the_line_that_serves_knows_the_server_crate() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let knowing: Vec<PathBuf> =
        sources(&folder).into_iter().filter(|path| fs::read_to_string(path).unwrap().contains("server::")).collect();
    assert_eq!(knowing, [folder.join("main.rs")]);
}
