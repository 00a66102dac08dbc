//! Connections that break anywhere: whoever comes back with its cursor misses nothing and gets nothing twice, over every
//! transport.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use loadgen::client::{
    After, Client, Cursor, Delivery, Event, Http, Repeat, Setup, Visitor, visit,
};
use loadgen::result::variant::Transport;
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

use crate::helper::{TestServer, beside, setup};
use crate::path::{End, Fate, Path};

/// After so long without a word a client gives its connection up.
const GIVE_UP: Duration = Duration::from_millis(250);
/// The longest that one client may take for all, however often it is cut.
const DEADLINE: Duration = Duration::from_secs(60);

/// Reads a room to this message, and comes back as often as it must; how often it did.
struct Reads {
    setup: Setup,
    last: u64,
}

impl Visitor for Reads {
    type Output = Pin<Box<dyn Future<Output = usize> + Send>>;

    fn visit<C: Client>(self) -> Self::Output {
        let Self { setup, last } = self;
        Box::pin(async move {
            let reading = async {
                let (mut reader, mut returns) = (Reader::default(), 0);
                while reader.seq < last {
                    reader.connect::<C>(&setup, last).await;
                    returns += 1;
                }
                returns - 1
            };
            let read = timeout(DEADLINE, reading).await;
            read.unwrap_or_else(|_| panic!("{} does not read on", std::any::type_name::<C>()))
        })
    }
}

/// Where a client stands.
#[derive(Default)]
struct Reader {
    epoch: String,
    seq: u64,
}

impl Reader {
    fn after(&self) -> After {
        match self.seq {
            0 => After::Oldest,
            seq => After::Cursor(Cursor {
                epoch: self.epoch.clone(),
                seq,
            }),
        }
    }

    /// Reads over one connection, until that breaks or all is there.
    async fn connect<C: Client>(&mut self, setup: &Setup, last: u64) {
        let mut events = Vec::new();
        let connecting = timeout(GIVE_UP, C::connect(setup, &self.after(), &mut events)).await;
        self.take(&mut events);
        let Ok(Ok(mut client)) = connecting else {
            return;
        };
        while self.seq < last {
            let next = timeout(GIVE_UP, client.next(&mut events)).await;
            // What came before the end counts.
            self.take(&mut events);
            if !matches!(next, Ok(Ok(()))) {
                return;
            }
        }
    }

    fn take(&mut self, events: &mut Vec<Event>) {
        for event in events.drain(..) {
            match event {
                Event::Hello(Some(cursor)) => self.epoch = cursor.epoch,
                Event::Message(Delivery { seq: Some(seq), .. }) => {
                    assert_eq!(seq, self.seq + 1, "each once, in order");
                    self.seq = seq;
                }
                Event::Gap(gap) => panic!("nothing was dropped: {gap:?}"),
                _ => {}
            }
        }
    }
}

/// Publishes as many messages to a room, past all that happens on the path.
async fn publish(server: &TestServer, room: &str, count: u64, pause: Duration) {
    let setup = setup(server.addr, room);
    let mut publisher = Http::connect(&setup, "").await.unwrap();
    for n in 0..count {
        let path = format!("/messages?room={room}").parse().unwrap();
        let draft = format!(r#"{{"from":"test","text":"message {n}"}}"#);
        let published = publisher.publish(path, draft, Repeat::Never).await;
        published.unwrap();
        if !pause.is_zero() {
            sleep(pause).await;
        }
    }
}

/// Cuts what reads four messages once, at each byte there is.
async fn cut_at_every_byte(transport: Transport, server: &TestServer) {
    let next = Arc::new(Mutex::new(Fate::NONE));
    let taken = Arc::clone(&next);
    let path = Path::to(server.addr, move || {
        std::mem::replace(&mut *taken.lock(), Fate::NONE)
    })
    .await;
    let reads = || Reads {
        setup: setup(path.addr, "cuts"),
        last: 4,
    };
    assert_eq!(visit(transport, reads()).await, 0, "{transport}: uncut");
    let (down, up) = (path.down.load(Relaxed), path.up.load(Relaxed));
    assert!(down > 100 && up > 100, "{transport}: {down} and {up} bytes");
    for n in 0..down + up {
        let end = [End::Fin, End::Rst][n % 2];
        let cut = Fate { end, ..Fate::NONE };
        *next.lock() = if n < down {
            Fate { down: n, ..cut }
        } else {
            Fate {
                up: n - down,
                ..cut
            }
        };
        visit(transport, reads()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_is_cut_at_any_byte_goes_on_where_it_was() {
    let _turn = tokio::task::block_in_place(beside);
    let server = TestServer::start("");
    publish(&server, "cuts", 4, Duration::ZERO).await;
    for transport in Transport::all() {
        cut_at_every_byte(transport, &server).await;
    }
}

/// So many messages, in about five seconds, of which the path is bad for four: one that stays so may never let a long answer
/// through.
const MESSAGES: u64 = 1000;
const BAD: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_cuts_splits_and_falls_silent_at_random_loses_nothing() {
    let _turn = tokio::task::block_in_place(beside);
    let server = TestServer::start("");
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let began = Instant::now();
    let reading = Transport::all().enumerate().map(|(n, transport)| {
        let mut random = fastrand::Rng::with_seed(seed.wrapping_add(n as u64));
        let server = server.addr;
        async move {
            let path = Path::to(server, move || {
                if began.elapsed() > BAD {
                    return Fate::NONE;
                }
                Fate {
                    down: random.usize(..6_000),
                    end: [End::Fin, End::Rst, End::Silence][random.usize(..3)],
                    piece: [1, 100, usize::MAX][random.usize(..3)],
                    ..Fate::NONE
                }
            })
            .await;
            let reads = Reads {
                setup: setup(path.addr, "cuts"),
                last: MESSAGES,
            };
            (transport, visit(transport, reads).await)
        }
    });
    let publishing = publish(&server, "cuts", MESSAGES, Duration::from_millis(4));
    let (returns, ()) = tokio::join!(join_all(reading), publishing);
    for (transport, returns) in returns {
        println!("{transport}: came back {returns} times");
        assert!(returns >= 3, "{transport}: cut {returns} times only");
    }
}
