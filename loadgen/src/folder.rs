//! A result's folder: claimed for one run alone, checked before the load, and written so that nothing half stays.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::result::files::{DATA, FILES};
use crate::shell;

/// What a result takes on the disk, and each of its trials: about twice what the reference's 60 trials take.
const ROOM: u64 = 128 << 10;
const ROOM_PER_TRIAL: u64 = 64 << 10;
/// More comparisons of one name in one second are no accident.
const MOST_OF_A_NAME: usize = 1000;
/// A report is ours if it has its mark within this much of its beginning.
const BEGINNING: u64 = 8 << 10;
/// Who leaves waits this long for a file that is being written.
const WRITE: Duration = Duration::from_secs(1);

/// Held while files are written: who leaves waits for it, so that none of them stays half.
static WRITING: Mutex<()> = Mutex::new(());
/// Every folder that this process has made, outer ones first.
static MADE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A folder that one run, or one report, has to itself.
///
/// Invariant: every file in it that a result may have was written by this run or, for a report, by loadgen.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Removed with this, if nothing was written.
    _made: Made,
    /// Locked as long as this lives; whoever else wants to write there finds it so.
    _lock: File,
    /// What may be written over.
    own: BTreeSet<&'static str>,
}

impl Folder {
    /// This folder, made if it is not there; an error if it has a result, if another run writes there, or if there is
    /// no room for this many trials.
    pub fn claim(path: &Path, trials: usize) -> Result<Self> {
        let (failed, mut made) = (|| cannot_make(path), Made::default());
        made.make_outer(path).with_context(failed)?;
        match made.make(path) {
            Err(_) if path.is_dir() => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                bail!("--out: {} is there, and is not a folder", shell::path(path))
            }
            other => other.with_context(failed)?,
        }
        Self::begin(path, trials, made)
    }

    /// A new folder of this name in another; if there is one, `-2` and so on is added.
    pub fn claim_new(outer: &Path, name: &str, trials: usize) -> Result<Self> {
        for n in 1..=MOST_OF_A_NAME {
            let path = outer.join(if n == 1 {
                name.into()
            } else {
                format!("{name}-{n}")
            });
            let (failed, mut made) = (|| cannot_make(&path), Made::default());
            made.make_outer(&path).with_context(failed)?;
            match made.make(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                other => {
                    return other
                        .with_context(failed)
                        .and_then(|()| Self::begin(&path, trials, made));
                }
            }
        }
        bail!(
            "--out: {} has {MOST_OF_A_NAME} folders named {name}",
            shell::path(outer)
        )
    }

    /// The folder of a result that is gone on with: its data are written again, too.
    pub fn resume(path: &Path) -> Result<Self> {
        let mut folder = Self::of_result(path)?;
        folder.own.insert(DATA);
        Ok(folder)
    }

    /// The folder of a result whose reports are rendered again; an error if one of them is not loadgen's.
    pub fn of_result(path: &Path) -> Result<Self> {
        let lock = lock(path)?;
        let mut own = BTreeSet::new();
        for file in FILES.iter().filter(|file| file.name != DATA) {
            let path = path.join(file.name);
            if fs::symlink_metadata(&path).is_ok() {
                let is_ours = is_marked(&path, file.mark).unwrap_or(false);
                ensure!(
                    is_ours,
                    "{} was not written by loadgen; move it away",
                    shell::path(&path)
                );
                own.insert(file.name);
            }
        }
        Ok(Self {
            path: path.into(),
            _made: Made::default(),
            _lock: lock,
            own,
        })
    }

    /// Locks it and tries what can be known before the load.
    fn begin(path: &Path, trials: usize, made: Made) -> Result<Self> {
        let lock = lock(path).context("--out")?;
        for file in FILES {
            let taken = path.join(file.name);
            ensure!(
                !is_there(&taken),
                "--out: {} is there already; name another folder",
                shell::path(&taken)
            );
        }
        let room = ROOM + ROOM_PER_TRIAL * trials as u64;
        let failed = || {
            format!(
                "--out: cannot write about {} KiB of results into {}",
                room >> 10,
                shell::path(path)
            )
        };
        try_room(path, room).with_context(failed)?;
        Ok(Self {
            path: path.into(),
            _made: made,
            _lock: lock,
            own: BTreeSet::new(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all of these files or none: each under another name first. Over a file that was not written by this run
    /// it does not write.
    pub fn write(&mut self, files: &[(&'static str, String)]) -> Result<()> {
        let _writing = WRITING.lock();
        let result = self.draft_and_place(files);
        if result.is_err() {
            files
                .iter()
                .for_each(|(name, _)| drop(fs::remove_file(self.draft(name))));
        }
        result
    }

    fn draft(&self, name: &str) -> PathBuf {
        self.path.join(format!(".{name}.draft"))
    }

    fn draft_and_place(&mut self, files: &[(&'static str, String)]) -> Result<()> {
        for (name, text) in files {
            assert!(
                FILES.iter().any(|file| file.name == *name),
                "{name} is not among the files of a result"
            );
            let failed = || format!("cannot write {}", shell::path(&self.path.join(name)));
            let file = draft(&self.draft(name), text).with_context(failed)?;
            if *name == DATA {
                // On some file systems only this tells that there is no room; it takes too long for what can be
                // rendered again.
                file.sync_all().with_context(failed)?;
            }
        }
        for (name, _) in files {
            let (draft, path) = (self.draft(name), self.path.join(name));
            let failed = || format!("cannot write {}", shell::path(&path));
            if !self.own.contains(name) {
                place_new(&draft, &path).with_context(failed)?;
                self.own.insert(name);
            } else {
                fs::rename(&draft, &path).with_context(failed)?;
            }
        }
        Ok(())
    }
}

/// Folders that were made, outer ones first; the empty ones go with this.
#[derive(Debug, Default)]
struct Made(Vec<PathBuf>);

impl Made {
    fn make(&mut self, path: &Path) -> io::Result<()> {
        // Locked, so that who leaves sees every one of them.
        let mut all = MADE.lock();
        DirBuilder::new().create(path)?;
        all.push(path.into());
        self.0.push(path.into());
        Ok(())
    }

    /// Makes the folders around a path that are not there.
    fn make_outer(&mut self, path: &Path) -> io::Result<()> {
        let outer: Vec<&Path> = path
            .ancestors()
            .skip(1)
            .take_while(|outer| !outer.as_os_str().is_empty())
            .collect();
        for outer in outer.into_iter().rev() {
            match self.make(outer) {
                Err(error) if !outer.is_dir() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        remove_empty(&self.0);
    }
}

fn remove_empty(folders: &[PathBuf]) {
    folders
        .iter()
        .rev()
        .for_each(|path| drop(fs::remove_dir(path)));
}

/// Before the process ends in the midst of something: no file is half written from now on, and no empty folder stays.
pub(crate) fn leave() {
    std::mem::forget(WRITING.try_lock_for(WRITE));
    remove_empty(&MADE.lock());
}

fn is_there(path: &Path) -> bool {
    // What cannot be looked at may be there. A link that leads nowhere is.
    !matches!(fs::symlink_metadata(path), Err(error) if error.kind() == ErrorKind::NotFound)
}

fn cannot_make(path: &Path) -> String {
    format!("--out: cannot make the folder {}", shell::path(path))
}

fn lock(path: &Path) -> Result<File> {
    let folder = File::open(path)
        .with_context(|| format!("cannot open the folder {}", shell::path(path)))?;
    match folder.try_lock() {
        Err(TryLockError::WouldBlock) => {
            bail!("another loadgen is writing into {}", shell::path(path))
        }
        // Some file systems lock no folders. There the first of two runs that writes its data is the only one.
        _ => Ok(folder),
    }
}

fn is_marked(path: &Path, mark: &str) -> io::Result<bool> {
    let mut beginning = Vec::new();
    File::open(path)?
        .take(BEGINNING)
        .read_to_end(&mut beginning)?;
    Ok(beginning.is_empty() || String::from_utf8_lossy(&beginning).contains(mark))
}

/// Whether a file of this size can be made here.
fn try_room(folder: &Path, room: u64) -> io::Result<()> {
    let path = folder.join(".room.draft");
    let tried = create(&path).and_then(|mut file| {
        match fallocate(&file, FallocateFlags::empty(), 0, room) {
            // Some file systems cannot promise room.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => file.write_all(&[0; 4096]),
            other => Ok(other?),
        }
    });
    let removed = fs::remove_file(&path);
    tried.and(removed)
}

fn create(path: &Path) -> io::Result<File> {
    // One may have been left by a process that was killed.
    let _ = fs::remove_file(path);
    OpenOptions::new().write(true).create_new(true).open(path)
}

fn draft(path: &Path, text: &str) -> io::Result<File> {
    let mut file = create(path)?;
    file.write_all(text.as_bytes())?;
    Ok(file)
}

/// Gives a draft its name, unless something has that name by now.
fn place_new(draft: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(draft, path) {
        Ok(()) => fs::remove_file(draft),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(io::Error::new(
            error.kind(),
            "another program made it during the run, and it is not written over",
        )),
        Err(_) if !is_there(path) => fs::rename(draft, path),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("loadgen-folder-{}-{name}", std::process::id()))
    }

    #[test]
    fn a_name_that_is_taken_gets_a_number() {
        let outer = temporary("names");
        let folders = [1, 2, 3].map(|_| Folder::claim_new(&outer, "same", 1).unwrap());
        let names = ["same", "same-2", "same-3"].map(|name| outer.join(name));
        assert_eq!(
            folders.each_ref().map(|folder| folder.path().to_owned()),
            names
        );
        folders.into_iter().rev().for_each(drop);
        assert!(!outer.exists(), "what is empty goes");
    }

    #[test]
    fn all_of_the_files_are_written_or_none() {
        let path = temporary("files");
        let mut folder = Folder::claim(&path, 1).unwrap();
        assert!(
            Folder::claim(&path, 1)
                .unwrap_err()
                .to_string()
                .contains("--out")
        );
        let text = |text: &str| text.to_owned();
        folder.write(&[("cpu.svg", text("1"))]).unwrap();
        folder.write(&[("cpu.svg", text("2"))]).unwrap();
        fs::create_dir(path.join(".bytes.svg.draft")).unwrap();
        folder
            .write(&[("cpu.svg", text("3")), ("bytes.svg", text("3"))])
            .unwrap_err();
        assert_eq!(fs::read_to_string(path.join("cpu.svg")).unwrap(), "2");
        fs::remove_dir(path.join(".bytes.svg.draft")).unwrap();
        fs::write(path.join("memory.svg"), "mine").unwrap();
        folder.write(&[("memory.svg", text("4"))]).unwrap_err();
        assert_eq!(fs::read_to_string(path.join("memory.svg")).unwrap(), "mine");
        let mut names: Vec<_> = fs::read_dir(&path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["cpu.svg", "memory.svg"]);
        fs::remove_dir_all(&path).unwrap();
    }
}
