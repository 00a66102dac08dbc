//! Short polls beside those of nginx with nchan, as Debian ships it.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::child::{Cores, Measured};
use crate::crowd::cursor_of;
use crate::polling::Pollers;
use crate::publisher::Schedule;
use crate::section::Size;
use crate::spread::{Bars, Spread};

/// It listens within this long.
const PATIENCE: Duration = Duration::from_secs(5);

/// An empty answer at a fixed rate, beside nchan's interval poll (Debian's nginx with libnginx-mod-nchan).
pub(crate) fn short_poll(cores: &Cores, size: &Size, bars: &mut Bars) {
    let nchan = Nchan::start(cores);
    let server = Measured::server(cores);
    let mut first = Pollers::connect(server.addr, 1, "/short-poll HTTP/1.1");
    let answer = first.ask();
    let cursor = cursor_of(answer.as_bytes());
    let count = size.some.min(512);
    let question = format!("/short-poll?after={cursor} HTTP/1.1\r\nif-none-match: \"{cursor}\"");
    let mut ours = Pollers::connect(server.addr, count, &question);
    let question =
        "/poll HTTP/1.1\r\nif-none-match: 0\r\nif-modified-since: Thu, 01 Jan 1970 00:00:01 GMT";
    let mut theirs = Pollers::connect(nchan.process.addr, count, question);
    let rate = size.polls;
    let cost = |pollers: &mut Pollers, process: &Measured, time| {
        let before = process.cpu();
        let answers = pollers.window(&Schedule::new(rate, time));
        (process.cpu() - before) as f64 / 1000.0 / answers as f64
    };
    cost(&mut ours, &server, size.window / 2);
    cost(&mut theirs, &nchan.process, size.window / 2);
    let pairs = (0..size.pairs).map(|_| {
        (
            cost(&mut ours, &server, size.window),
            cost(&mut theirs, &nchan.process, size.window),
        )
    });
    let pairs: Vec<(f64, f64)> = pairs.collect();
    println!(
        "  {count} connections, {rate}/s: CPU per empty answer {} us, nchan {} us, ratio {}",
        Spread::of(pairs.iter().map(|pair| pair.0)),
        Spread::of(pairs.iter().map(|pair| pair.1)),
        bars.at_most(
            &Spread::of(pairs.iter().map(|(ours, theirs)| ours / theirs)),
            1.1
        ),
    );
}

/// nginx with one worker, in the foreground, in a folder of its own.
struct Nchan {
    process: Measured,
    folder: PathBuf,
}

impl Nchan {
    fn start(cores: &Cores) -> Self {
        let module = "/usr/lib/nginx/modules/ngx_nchan_module.so";
        let program = "/usr/sbin/nginx";
        for part in [program, module] {
            assert!(
                fs::exists(part).unwrap_or(false),
                "{part} is missing: ./test.sh installs it (nginx-light, libnginx-mod-nchan)"
            );
        }
        let addr = TcpListener::bind("127.0.0.1:0")
            .and_then(|free| free.local_addr())
            .expect("a free port");
        let folder = std::env::temp_dir().join(format!("nchan-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        let at = folder.display();
        let configuration = format!(
            "load_module {module};\ndaemon off; pid {at}/pid; error_log /dev/null; worker_processes 1; worker_rlimit_nofile 20000;\n\
             events {{ worker_connections 10000; }}\nhttp {{ access_log off; keepalive_requests 1000000000;\n\
             server {{ listen {addr} backlog=4096; location /poll {{ nchan_subscriber interval-poll; nchan_channel_id lobby; }} }} }}\n"
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, configuration).expect("a temporary file");
        let mut command = Command::new(program);
        command
            .arg("-p")
            .arg(&folder)
            .arg("-e")
            .arg("/dev/null")
            .arg("-c")
            .arg(&file);
        let process = Measured::at(cores, addr, &mut command);
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(addr).is_err() {
            assert!(Instant::now() < deadline, "nginx does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { process, folder }
    }
}

impl Drop for Nchan {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
