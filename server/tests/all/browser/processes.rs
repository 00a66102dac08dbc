//! The processes of a browser: chromedriver, Chromium under it, and the profile they write to.

use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// How the folders of profiles begin; the number of the test's process follows.
const PROFILES: &str = "workbench-pages-";

pub(super) struct Driver(Child);

pub(super) struct Profile(pub(super) PathBuf);

/// All processes of a browser, stopped for as long as this lives.
pub(crate) struct Asleep(Vec<Pid>);

impl Asleep {
    pub(super) fn under(driver: &Driver) -> Self {
        let chromium = descendants(Pid::from_child(&driver.0));
        assert!(
            chromium.len() > 2,
            "{chromium:?}: the browser, what starts its processes, and those of its pages"
        );
        for pid in &chromium {
            // One may just have ended.
            let _ = kill_process(*pid, Signal::STOP);
        }
        Self(chromium)
    }
}

impl Drop for Asleep {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = kill_process(*pid, Signal::CONT);
        }
    }
}

impl Driver {
    /// Starts chromedriver on a free port. It takes one of `[::1]` and wants the same of `127.0.0.1`: if somebody has
    /// that one, it ends, and is started again.
    pub(super) fn start(program: &Path) -> (Self, u16) {
        let started = (0..5).find_map(|_| Self::try_start(program));
        started.expect("chromedriver ended five times without naming its port")
    }

    /// Starts it; it tells its port on its standard output.
    fn try_start(program: &Path) -> Option<(Self, u16)> {
        let mut child = Command::new(program)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut said = BufReader::new(child.stdout.take().expect("it is piped"));
        let driver = Self(child);
        let mut line = String::new();
        while said.read_line(&mut line).expect("text") > 0 {
            if let Some((_, port)) = line.trim_end().split_once("started successfully on port ") {
                let port = port.trim_end_matches('.').parse().expect("a port");
                // It goes on talking: with nobody to read, it would block or fail.
                std::thread::spawn(move || io::copy(&mut said, &mut io::sink()));
                return Some((driver, port));
            }
            line.clear();
        }
        None
    }
}

impl Drop for Driver {
    /// With Chromium, should that have been too busy, or stopped, to end with its session.
    fn drop(&mut self) {
        for pid in descendants(Pid::from_child(&self.0)) {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Profile {
    pub(super) fn fresh() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (own, number) = (std::process::id(), NEXT.fetch_add(1, Relaxed));
        if number == 0 {
            clear();
        }
        let name = format!("{PROFILES}{own}-{number}");
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a directory for the profile");
        Self(path)
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        // Chromium's last processes may still write while they end.
        for _ in 0..50 {
            if std::fs::remove_dir_all(&self.0).is_ok() || !self.0.exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Ends and removes what test runs have left that were killed: a browser that goes on takes a core from everybody else.
fn clear() {
    let running = processes();
    let folders = std::fs::read_dir(std::env::temp_dir()).expect("a folder for temporary files");
    for folder in folders.flatten() {
        let name = folder.file_name().to_string_lossy().into_owned();
        let of = name
            .strip_prefix(PROFILES)
            .and_then(|rest| Pid::from_raw(rest.split('-').next()?.parse().ok()?));
        if of.is_none_or(|of| running.contains(&of)) {
            continue;
        }
        for pid in &running {
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&command).contains(&name) {
                let _ = kill_process(*pid, Signal::KILL);
            }
        }
        let _ = std::fs::remove_dir_all(folder.path());
    }
}

/// All processes.
fn processes() -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").expect("this is Linux").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(Pid::from_raw).collect()
}

/// The processes under one.
fn descendants(of: Pid) -> Vec<Pid> {
    let children = processes()
        .into_iter()
        .filter(|pid| parent(*pid) == Some(of));
    children
        .flat_map(|child| [vec![child], descendants(child)].concat())
        .collect()
}

fn parent(of: Pid) -> Option<Pid> {
    let status = std::fs::read_to_string(format!("/proc/{of}/status")).ok()?;
    Pid::from_raw(
        status
            .lines()
            .find_map(|line| line.strip_prefix("PPid:"))?
            .trim()
            .parse()
            .ok()?,
    )
}

pub(super) fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "there is no {name}: these tests drive a real browser; install it with ./test.sh or \
             apt-get install chromium chromium-driver"
        )
    })
}
