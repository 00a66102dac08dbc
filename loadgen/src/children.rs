//! The processes that loadgen has started: none outlives it, however it ends.

use std::io;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// The servers that were started.
static PROCESSES: Mutex<Vec<Weak<Mutex<Child>>>> = Mutex::new(Vec::new());

/// A server of our own, which does not outlive this.
#[derive(Debug)]
pub(crate) struct Process(Arc<Mutex<Child>>);

impl Process {
    /// Keeps it until it is dropped, or the program ends.
    pub(crate) fn new(child: Child) -> Self {
        let child = Arc::new(Mutex::new(child));
        let mut all = PROCESSES.lock();
        all.retain(|other| other.strong_count() > 0);
        all.push(Arc::downgrade(&child));
        Self(child)
    }

    /// How it ended, if it has.
    pub(crate) fn status(&self) -> io::Result<Option<ExitStatus>> {
        self.0.lock().try_wait()
    }

    /// Ends its standard input: for a server of ours, the wish that it drains.
    pub(crate) fn end_input(&self) {
        drop(self.0.lock().stdin.take());
    }

    /// Ends it without asking, and waits for its end.
    pub(crate) fn kill(&self) -> io::Result<ExitStatus> {
        let mut child = self.0.lock();
        child.kill()?;
        child.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Ends every server that was started, before the process ends in the midst of something.
pub(crate) fn kill_all() {
    for child in PROCESSES.lock().iter().filter_map(Weak::upgrade) {
        let _ = Process(child).kill();
    }
}
