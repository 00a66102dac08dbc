//! What goes wrong in loadgen itself: a panic in any of its threads or tasks, a thread that cannot do its work. It ends
//! the trial as broken by loadgen, so that the server is never blamed for it.

use std::panic::PanicHookInfo;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::console;
use crate::result::scenario::Part;

/// The first fault; what follows is often its consequence.
static FIRST: Mutex<Option<String>> = Mutex::new(None);

/// Which part is to panic, if any, and whether one is at all.
static PROVOKED: Mutex<Option<Part>> = Mutex::new(None);
static IS_PROVOKED: AtomicBool = AtomicBool::new(false);

/// Notes the panics of all threads but the main one, from now on; tasks panic in the thread that runs them, so that no
/// `JoinHandle` has to be asked.
pub fn watch(provoked: Option<Part>) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| match std::thread::current().name() {
            None | Some("main") => usual(info),
            Some(name) => {
                note(describe(name, info));
                console::say_backtrace();
            }
        }));
    });
    *PROVOKED.lock() = provoked;
    IS_PROVOKED.store(provoked.is_some(), Relaxed);
}

/// Notes a fault.
pub fn note(text: String) {
    FIRST.lock().get_or_insert(text);
}

/// The first fault since the beginning, in words.
pub fn first() -> Option<String> {
    FIRST.lock().clone()
}

/// Panics, once, if a test wants this part to.
pub(crate) fn provoke(part: Part) {
    if IS_PROVOKED.load(Relaxed)
        && PROVOKED
            .lock()
            .take_if(|provoked| *provoked == part)
            .is_some()
    {
        panic!("provoked in {part:?}");
    }
}

/// Notes that a thread ended by a panic, if the hook has not.
pub(crate) fn joined<T>(what: &str, result: &std::thread::Result<T>) {
    if result.is_err() {
        note(format!("the {what} panicked"));
    }
}

fn describe(name: &str, info: &PanicHookInfo<'_>) -> String {
    let text = info.payload_as_str().unwrap_or("no text");
    let place = info
        .location()
        .map_or(String::new(), |place| format!(" at {place}"));
    format!("the thread {name} panicked{place}: {text}")
}
