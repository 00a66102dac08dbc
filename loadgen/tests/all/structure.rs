//! Which module may know which. What a file names with `crate::`, `self::` or `super::` is what it knows; what stands in
//! the arguments of a macro is not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use syn::visit::{self, Visit};

/// A module by its path in the crate; the crate itself is empty.
type Module = Vec<String>;
type Edges = BTreeMap<Module, BTreeSet<Module>>;

/// Everything that one file names in its own crate, tests apart.
struct Names {
    module: Module,
    found: Vec<Module>,
}

impl Names {
    /// Takes a path in, if it leads into this crate.
    fn take(&mut self, path: &[String]) {
        let Some((first, mut rest)) = path.split_first() else {
            return;
        };
        let mut base = match first.as_str() {
            "crate" => Vec::new(),
            "self" => self.module.clone(),
            "super" => {
                let above = 1 + rest.iter().take_while(|name| *name == "super").count();
                rest = &rest[above - 1..];
                self.module[..self.module.len().saturating_sub(above)].to_vec()
            }
            _ => return,
        };
        base.extend(rest.iter().cloned());
        self.found.push(base);
    }

    fn take_tree(&mut self, mut path: Module, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(it) => {
                path.push(it.ident.to_string());
                self.take_tree(path, &it.tree);
            }
            syn::UseTree::Group(it) => it
                .items
                .iter()
                .for_each(|tree| self.take_tree(path.clone(), tree)),
            syn::UseTree::Name(syn::UseName { ident })
            | syn::UseTree::Rename(syn::UseRename { ident, .. }) => {
                path.push(ident.to_string());
                self.take(&path);
            }
            syn::UseTree::Glob(_) => self.take(&path),
        }
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !item
            .attrs
            .iter()
            .any(|attribute| attribute.path().is_ident("cfg"))
        {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.take_tree(Vec::new(), &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let path_in_words: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        if path_in_words.len() > 1 {
            self.take(&path_in_words);
        }
        visit::visit_path(self, path);
    }
}

/// The modules of a crate, each with the text of its file; the crate itself has two, a library's and a program's.
fn modules(folder: &Path, module: &Module, found: &mut BTreeMap<Module, Vec<String>>) {
    for entry in fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        let name = entry.file_stem().unwrap().to_str().unwrap().to_owned();
        if name == "tests" {
            continue;
        }
        let own = match name.as_str() {
            "lib" | "main" => Vec::new(),
            _ => [module.clone(), vec![name]].concat(),
        };
        match entry.extension() {
            None => modules(&entry, &own, found),
            Some(kind) if kind != "rs" => {}
            Some(_) => found
                .entry(own)
                .or_default()
                .push(fs::read_to_string(entry).unwrap()),
        }
    }
}

/// Who names whom, in a crate beside this one.
fn edges(name: &str) -> Edges {
    let mut all = BTreeMap::new();
    modules(
        &Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(name)
            .join("src"),
        &Vec::new(),
        &mut all,
    );
    assert!(all.len() > 30, "{name} has its modules there");
    let mut edges = Edges::new();
    for (module, text) in all
        .iter()
        .flat_map(|(module, texts)| texts.iter().map(move |text| (module, text)))
    {
        let mut names = Names {
            module: module.clone(),
            found: Vec::new(),
        };
        names.visit_file(&syn::parse_file(text).unwrap());
        for mut path in names.found {
            while !path.is_empty() && !all.contains_key(&path) {
                path.pop();
            }
            if !path.is_empty() && path != *module {
                edges.entry(module.clone()).or_default().insert(path);
            }
        }
    }
    edges
}

/// A way from a module back to itself, if there is one.
fn circle(edges: &Edges) -> Option<Vec<String>> {
    fn walk(edges: &Edges, way: &mut Vec<Module>, done: &mut BTreeSet<Module>) -> bool {
        let last = way.last().unwrap().clone();
        for next in edges.get(&last).into_iter().flatten() {
            if let Some(begin) = way.iter().position(|module| module == next) {
                way.drain(..begin);
                way.push(next.clone());
                return true;
            }
            if !done.contains(next) {
                way.push(next.clone());
                if walk(edges, way, done) {
                    return true;
                }
                way.pop();
            }
        }
        done.insert(last);
        false
    }
    let mut done = BTreeSet::new();
    edges.keys().find_map(|module| {
        let mut way = vec![module.clone()];
        walk(edges, &mut way, &mut done)
            .then(|| way.iter().map(|module| module.join("::")).collect())
    })
}

/// The rooms of the crate: a module and all below it are one.
fn rooms(edges: &Edges) -> Edges {
    let mut rooms = Edges::new();
    for (from, to) in edges.iter().filter(|(from, _)| !from.is_empty()) {
        let others = to
            .iter()
            .filter(|to| to[0] != from[0])
            .map(|to| vec![to[0].clone()]);
        rooms
            .entry(vec![from[0].clone()])
            .or_default()
            .extend(others);
    }
    rooms
}

/// The same without what a module and its own house know of each other: who is above only passes on what is below.
fn neighbours(mut edges: Edges) -> Edges {
    edges.remove(&Vec::new());
    for (from, to) in &mut edges {
        to.retain(|to| !to.starts_with(from) && !from.starts_with(to));
    }
    edges
}

#[test]
fn no_modules_know_each_other_in_a_circle() {
    for name in ["loadgen", "server"] {
        let edges = edges(name);
        assert_eq!(circle(&rooms(&edges)), None, "rooms of {name}");
        assert_eq!(circle(&neighbours(edges)), None, "modules of {name}");
    }
}

#[test]
fn what_is_saved_knows_nothing_else_and_judges_and_reports_know_only_that() {
    let edges = rooms(&edges("loadgen"));
    let known = |room: &str| {
        edges
            .get(&vec![room.to_owned()])
            .cloned()
            .unwrap_or_default()
    };
    assert_eq!(
        edges.get(&vec!["result".to_owned()]),
        Some(&BTreeSet::new())
    );
    for room in ["judge", "report"] {
        assert_eq!(
            known(room),
            BTreeSet::from([vec!["result".to_owned()]]),
            "{room}"
        );
    }
}

#[test]
fn loadgen_knows_the_server_over_the_network_and_in_the_line_that_becomes_one() {
    let mut all = BTreeMap::new();
    modules(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &Vec::new(),
        &mut all,
    );
    let lines = all.iter().flat_map(|(module, texts)| {
        texts
            .iter()
            .flat_map(move |text| text.lines().map(move |line| (module, line)))
    });
    let knows: Vec<(&Module, &str)> = lines
        .filter(|(_, line)| line.contains("server::"))
        .collect();
    assert!(
        knows.iter().all(|(module, _)| module.is_empty()),
        "{knows:?}"
    );
    let lines: Vec<&str> = knows.iter().map(|(_, line)| *line).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.contains("server::run("))
            .count(),
        1,
        "{lines:?}"
    );
}

#[test]
fn a_circle_is_found_however_long() {
    let edges = |pairs: &[(&str, &str)]| {
        let mut edges = Edges::new();
        for (from, to) in pairs {
            let path = |text: &str| text.split("::").map(str::to_owned).collect::<Module>();
            edges.entry(path(from)).or_default().insert(path(to));
        }
        edges
    };
    let line = edges(&[("a", "b"), ("b", "c"), ("a", "c"), ("c::x", "d")]);
    assert_eq!(circle(&line), None);
    let ring = edges(&[("z", "a"), ("a", "b"), ("b", "c"), ("c", "a")]);
    assert_eq!(circle(&ring).unwrap(), ["a", "b", "c", "a"]);
    // Over a module that passes on what is below it: a circle of rooms, and none of neighbours.
    let house = edges(&[("a", "b"), ("b", "b::x"), ("b::x", "a")]);
    assert_eq!(circle(&rooms(&house)).unwrap(), ["a", "b", "a"]);
    let siblings = edges(&[
        ("a::x", "a::y"),
        ("a::y", "a::x"),
        ("a", "a::x"),
        ("a::x", "a"),
    ]);
    assert_eq!(circle(&rooms(&siblings)), None);
    assert_eq!(
        circle(&neighbours(siblings)).unwrap(),
        ["a::x", "a::y", "a::x"]
    );
}
