//! Streams that fail, get stuck and recover.

use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};

use parking_lot::Mutex;

use super::*;

/// A disk with room for this many bytes.
#[derive(Clone, Default)]
struct Disk(Arc<Mutex<(usize, Vec<u8>)>>);

impl Disk {
    fn room(&self, bytes: usize) {
        self.0.lock().0 += bytes;
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().1.clone()).unwrap()
    }
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (room, written) = &mut *self.0.lock();
        let size = bytes.len().min(*room);
        if size == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        *room -= size;
        written.extend_from_slice(&bytes[..size]);
        Ok(size)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn wait(lines: &Lines) {
    lines.wait(Instant::now() + Duration::from_secs(20));
    assert_eq!(lines.count.waiting.load(SeqCst), 0);
}

#[test]
fn a_line_that_cannot_be_written_is_counted_and_the_next_that_can_be_says_how_many() {
    let disk = Disk::default();
    let lines = Lines::to(disk.clone());
    disk.room(10);
    for line in ["whole\n", "torn line\n", "none\n"] {
        lines.say(line.as_bytes());
    }
    wait(&lines);
    assert_eq!(
        (disk.text().as_str(), lines.count.lost.load(SeqCst)),
        ("whole\ntorn", 2)
    );
    disk.room(1000);
    lines.say(b"again\n");
    lines.say(b"and more\n");
    wait(&lines);
    let text = disk.text();
    let said: Vec<_> = text.lines().collect();
    assert_eq!(
        (said[0], said[1], said[3], said[4]),
        ("whole", "torn", "again", "and more")
    );
    assert!(
        said[2].starts_with("20")
            && said[2].ends_with("  WARN lines were lost before this one lost=2"),
        "{text}"
    );
    assert_eq!((said.len(), lines.count.lost.load(SeqCst)), (5, 2));
}

#[test]
fn a_long_line_is_cut_off_and_says_so() {
    let disk = Disk::default();
    disk.room(1 << 20);
    let lines = Lines::to(disk.clone());
    let whole = "x".repeat(LONGEST - 1) + "\n";
    for line in [
        &whole,
        &("y".repeat(LONGEST) + "\n"),
        &"ä\n".repeat(LONGEST),
    ] {
        lines.say(line.as_bytes());
    }
    wait(&lines);
    let text = disk.text();
    assert!(text.starts_with(&whole) && text.ends_with("…\n") && text.contains("y…\n"));
    assert!(text.len() < 3 * LONGEST + 20);
}

/// A pipe whose reader takes a write when it is told to.
struct Stuck(Receiver<()>, Sender<Vec<u8>>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        let _ = self.1.send(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_who_does_not_read_makes_nobody_wait_and_what_does_not_fit_is_counted() {
    let ((go, may), (sender, written)) = (channel(), channel());
    let lines = Lines::to(Stuck(may, sender));
    for _ in 0..3 * QUEUED {
        lines.say(b"a line\n");
    }
    let lost = lines.count.lost.load(SeqCst);
    // One more may be with the thread already.
    assert!(
        (2 * QUEUED as u64 - 1..=2 * QUEUED as u64).contains(&lost),
        "{lost}"
    );
    let begun = Instant::now();
    lines.wait(begun + Duration::from_millis(50));
    assert!(
        begun.elapsed() >= Duration::from_millis(50),
        "they are still waiting"
    );
    drop(go);
    wait(&lines);
    let all: Vec<_> = written
        .try_iter()
        .map(|line| String::from_utf8(line).unwrap())
        .collect();
    assert_eq!(
        all.iter().filter(|line| *line == "a line\n").count() as u64 + lost,
        3 * QUEUED as u64
    );
    // In one notice, or in two where the thread began when some were lost already.
    let told = all
        .iter()
        .filter_map(|line| line.split("lost=").nth(1)?.trim_end().parse::<u64>().ok());
    assert_eq!(told.sum::<u64>(), lost);
}

/// Not a test of its own: what the next one runs in another process.
#[test]
fn child_that_panics() {
    if std::env::var_os("PANICS").is_none() {
        return;
    }
    catch_panics();
    for n in 0..3 {
        assert!(thread::spawn(move || panic!("number {n}")).join().is_err());
    }
    // At the end without a drop: the test's own thread is in no hurry.
    std::process::exit(7);
}

#[test]
fn a_panic_ends_its_thread_and_no_more_though_nobody_reads_what_is_said_of_it() {
    let (reader, mut writer) = io::pipe().unwrap();
    // As much as a pipe holds.
    writer.write_all(&[b'x'; 64 * 1024]).unwrap();
    let full: [Stdio; 2] = [
        writer.into(),
        std::fs::File::create("/dev/full").unwrap().into(),
    ];
    for stderr in full {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .args(["--exact", "output::tests::child_that_panics", "--nocapture"])
            .env("PANICS", "1");
        let mut child = child.stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                child.kill().unwrap();
            }
            thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(status.code(), Some(7));
    }
    drop(reader);
}
