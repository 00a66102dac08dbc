//! Storms: two thousand clients of every transport that lose their connections at the same moment, and come back.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use loadgen::client::dialect::Draft;
use loadgen::client::{Cadence, Client, Cursor, Publisher, Setup, Visitor, visit};
use loadgen::result::variant::Transport;
use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::helper::{alone, loadgen, setup};
use crate::path::{Fate, Path};
use crate::reader::Reader;

const CLIENTS: usize = 2000;
const ROOM: &str = "storm";
/// With full jitter a client comes back after a random share of this; without, they all come after the same time.
const JITTER: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(200);
/// A connection that is not made by then is given up.
const CONNECT: Duration = Duration::from_secs(30);
/// Longer than any connection here lasts.
const FOR_EVER: Duration = Duration::from_secs(3600);
/// Anything that is waited for has come by then, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(90);
/// Between two messages that are published all the while.
const CHATTER: Duration = Duration::from_millis(250);

/// A server that can be killed, and started again where it was.
struct Server {
    child: Child,
    addr: SocketAddr,
}

impl Server {
    /// At an address of its own, or while it is away its port could be given to one of its clients.
    fn start(port: u16) -> Self {
        let flags = "serve --host 127.0.0.6 --print-addr --exit-with-stdin --log off";
        let mut command = loadgen(&format!("{flags} --port {port}"));
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the server starts");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.as_mut().unwrap());
        stdout.read_line(&mut line).unwrap();
        let addr = line.trim().parse().expect("an address");
        Self { child, addr }
    }

    /// As `kill -9` does it.
    fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it has ended");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a client stands, and how often it was told that the room has started anew.
#[derive(Clone, Copy, Default)]
struct Standing {
    is_connected: bool,
    seq: u64,
    told: usize,
}

/// One client's life: it reads, and comes back.
struct Lives {
    setup: Setup,
    jitters: Arc<AtomicBool>,
    standing: Arc<Mutex<Standing>>,
}

impl Visitor for Lives {
    type Output = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn visit<C: Client>(self) -> Self::Output {
        Box::pin(async move {
            let mut reader = Reader::default();
            loop {
                let mut client = reader.connect::<C>(&self.setup, CONNECT).await;
                while let Some(connected) = &mut client {
                    self.note(&reader, true);
                    if !reader.read(connected, FOR_EVER).await {
                        client = None;
                    }
                }
                self.note(&reader, false);
                let pause = if self.jitters.load(Relaxed) {
                    JITTER.mul_f64(fastrand::f64())
                } else {
                    PAUSE
                };
                sleep(pause).await;
            }
        })
    }
}

impl Lives {
    fn note(&self, reader: &Reader, is_connected: bool) {
        let Reader { seq, told, .. } = *reader;
        *self.standing.lock() = Standing {
            is_connected,
            seq,
            told,
        };
    }
}

/// All clients.
struct Crowd {
    lives: JoinSet<()>,
    standings: Vec<Arc<Mutex<Standing>>>,
    jitters: Arc<AtomicBool>,
}

impl Crowd {
    fn connect(addr: SocketAddr) -> Self {
        let (mut lives, mut standings) = (JoinSet::new(), Vec::new());
        let jitters = Arc::new(AtomicBool::new(true));
        for (n, transport) in Transport::all()
            .collect::<Vec<_>>()
            .into_iter()
            .cycle()
            .take(CLIENTS)
            .enumerate()
        {
            let interval = Duration::from_millis(500);
            let phase = interval.mul_f64(n as f64 / CLIENTS as f64);
            let setup = Setup {
                cadence: Cadence { interval, phase },
                timestamped: false,
                ..setup(addr, ROOM)
            };
            let standing = Arc::<Mutex<Standing>>::default();
            standings.push(Arc::clone(&standing));
            let jitters = Arc::clone(&jitters);
            lives.spawn(visit(
                transport,
                Lives {
                    setup,
                    jitters,
                    standing,
                },
            ));
        }
        Self {
            lives,
            standings,
            jitters,
        }
    }

    /// Waits until all of them are so; how long it took until 99 of 100 were, and all.
    async fn until(
        &mut self,
        what: &str,
        since: Instant,
        is_so: impl Fn(Standing) -> bool,
    ) -> [Duration; 2] {
        let mut nearly = None;
        loop {
            let are = self.standings.iter().filter(|of| is_so(*of.lock())).count();
            if are * 100 >= CLIENTS * 99 {
                nearly.get_or_insert(since.elapsed());
            }
            if let Some(nearly) = nearly
                && are == CLIENTS
            {
                return [nearly, since.elapsed()];
            }
            // One that lost something has panicked.
            if let Some(ended) = self.lives.try_join_next() {
                ended.expect("nobody loses anything");
            }
            let in_time = since.elapsed() < DEADLINE;
            assert!(in_time, "{are} of {CLIENTS} only are {what}");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Publishes a message, again and again with the same key for as long as there is no server.
async fn publish(publisher: &mut Publisher) -> Cursor {
    let draft = Draft {
        text: "hi".into(),
        key: format!("{:x}", fastrand::u128(..)),
    };
    let published = async {
        loop {
            match publisher.publish(ROOM, &draft).await {
                Ok(acked) => return acked.cursor.expect("ours has cursors"),
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    };
    timeout(DEADLINE, published).await.expect("it is taken")
}

/// Cuts everybody at once; prints how they come back.
async fn cut_all(path: &Path, crowd: &mut Crowd, publisher: &mut Publisher, jitters: bool) {
    crowd.jitters.store(jitters, Relaxed);
    let since = Instant::now();
    path.cut_all();
    // Over a connection that was cut this one cannot have come.
    let mark = publish(publisher).await.seq;
    let is_back = |of: Standing| of.is_connected && of.seq >= mark;
    let [nearly, all] = crowd.until("back", since, is_back).await;
    let (came, peak) = path.came(since);
    let with = if jitters { "with" } else { "without" };
    println!(
        "{CLIENTS} cut, {with} jitter: {came} connects, at most {peak} within 100 ms; 99 % back after {nearly:.2?}, all after {all:.2?}"
    );
    assert!(came >= CLIENTS, "{came} came: not everybody was cut");
}

async fn storms() {
    let mut server = Server::start(0);
    let path = Path::to(server.addr, || Fate::NONE).await;
    let mut publisher = Publisher::connect(&setup(server.addr, ROOM)).await;
    let first = publish(&mut publisher).await;
    let mut crowd = Crowd::connect(path.addr);
    let here = |of: Standing| of.is_connected && of.seq >= first.seq;
    crowd.until("there", Instant::now(), here).await;
    let chatter = setup(server.addr, ROOM);
    let chatter = tokio::spawn(async move {
        let mut publisher = Publisher::connect(&chatter).await;
        loop {
            publish(&mut publisher).await;
            sleep(CHATTER).await;
        }
    });
    for jitters in [true, false] {
        cut_all(&path, &mut crowd, &mut publisher, jitters).await;
    }

    crowd.jitters.store(true, Relaxed);
    let port = server.addr.port();
    server.kill();
    let away = Instant::now();
    crowd.until("cut", away, |of| !of.is_connected).await;
    let since = Instant::now();
    server = Server::start(port);
    let mark = publish(&mut publisher).await;
    assert_ne!(mark.epoch, first.epoch, "the log is another one");
    let is_back = |of: Standing| of.told == 1 && of.seq >= mark.seq;
    let [nearly, all] = crowd.until("back, and told", since, is_back).await;
    let (came, peak) = path.came(since);
    println!(
        "killed and started again: {came} connects, at most {peak} within 100 ms; 99 % told after {nearly:.2?}, all after {all:.2?}"
    );
    chatter.abort();
    // Whatever was published last has come, and nobody was told more than that once.
    let last = publish(&mut publisher).await.seq;
    let is_done = |of: Standing| of.told == 1 && of.seq == last;
    crowd
        .until("there in the end", Instant::now(), is_done)
        .await;
    drop(server);
}

#[test]
fn two_thousand_clients_that_are_cut_at_once_come_back_and_miss_nothing_in_silence() {
    let _turn = alone();
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, most).expect("it may have as many descriptors as it may have");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(storms());
    runtime.shutdown_background();
}
