//! The path between a client and its server, as these tests make it: it cuts connections, splits what it carries, falls silent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;

/// Thousands may come at once.
const BACKLOG: u32 = 4096;

/// How a connection ends that is cut.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Fin,
    Rst,
    /// Nothing passes any more, and nobody is told.
    Silence,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fate {
    /// It ends once so many bytes have reached the client, or so many the server.
    pub(crate) down: usize,
    pub(crate) up: usize,
    pub(crate) end: End,
    /// Bytes are passed on so many at a time, at most.
    pub(crate) piece: usize,
}

impl Fate {
    /// Nothing happens to it.
    pub(crate) const NONE: Self = Self {
        down: usize::MAX,
        up: usize::MAX,
        end: End::Fin,
        piece: usize::MAX,
    };
}

pub(crate) struct Path {
    pub(crate) addr: SocketAddr,
    /// Bytes that have reached clients, and the server.
    pub(crate) down: Arc<AtomicUsize>,
    pub(crate) up: Arc<AtomicUsize>,
    /// When each client came.
    connects: Arc<Mutex<Vec<Instant>>>,
    cuts: watch::Sender<()>,
}

impl Path {
    /// Each connection has the fate that is drawn for it.
    pub(crate) async fn to(
        server: SocketAddr,
        mut fate: impl FnMut() -> Fate + Send + 'static,
    ) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(BACKLOG).unwrap();
        let path = Self {
            addr: listener.local_addr().unwrap(),
            down: Arc::default(),
            up: Arc::default(),
            connects: Arc::default(),
            cuts: watch::Sender::new(()),
        };
        let (down, up) = (Arc::clone(&path.down), Arc::clone(&path.up));
        let (connects, cuts) = (Arc::clone(&path.connects), path.cuts.subscribe());
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                connects.lock().push(Instant::now());
                let (fate, down, up) = (fate(), Arc::clone(&down), Arc::clone(&up));
                let mut cuts = cuts.clone();
                cuts.mark_unchanged();
                tokio::spawn(async move {
                    if let Ok(far) = TcpStream::connect(server).await {
                        carry(near, far, fate, cuts, [&down, &up]).await;
                    }
                });
            }
        });
        path
    }

    /// Ends every connection that there is with a reset, at both of its ends.
    pub(crate) fn cut_all(&self) {
        self.cuts.send_replace(());
    }

    /// How many clients have come since, and how many at most within a tenth of a second.
    pub(crate) fn came(&self, since: Instant) -> (usize, usize) {
        let connects = self.connects.lock();
        let came = &connects[connects.partition_point(|at| *at < since)..];
        let within = |i: usize| {
            let end = came[i] + Duration::from_millis(100);
            came.partition_point(|at| *at < end) - i
        };
        (came.len(), (0..came.len()).map(within).max().unwrap_or(0))
    }
}

async fn carry(
    mut near: TcpStream,
    mut far: TcpStream,
    fate: Fate,
    mut cuts: watch::Receiver<()>,
    [down, up]: [&AtomicUsize; 2],
) {
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    let carrying = async {
        let ((from_client, to_client), (from_server, to_server)) = (near.split(), far.split());
        let down = Box::pin(pass(from_server, to_client, fate.down, fate.piece, down));
        let up = Box::pin(pass(from_client, to_server, fate.up, fate.piece, up));
        match select(down, up).await {
            Either::Left((true, _)) | Either::Right((true, _)) => true,
            Either::Left((false, other)) => other.await,
            Either::Right((false, other)) => other.await,
        }
    };
    let (is_cut, end) = tokio::select! {
        is_cut = carrying => (is_cut, fate.end),
        Ok(()) = cuts.changed() => (true, End::Rst),
    };
    match end {
        End::Rst if is_cut => {
            near.set_zero_linger().unwrap();
            far.set_zero_linger().unwrap();
        }
        End::Silence if is_cut => {
            // Until the client gives it up. The server is left with it.
            while let Ok(1..) = near.read(&mut [0; 1024]).await {}
        }
        _ => {}
    }
}

/// Passes bytes on until there are no more, or so many have been; whether it was that.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    most: usize,
    piece: usize,
    count: &AtomicUsize,
) -> bool {
    let mut left = most;
    let mut buffer = [0; 16 * 1024];
    while left > 0 {
        let room = buffer.len().min(piece).min(left);
        let Ok(length @ 1..) = from.read(&mut buffer[..room]).await else {
            let _ = to.shutdown().await;
            return false;
        };
        if to.write_all(&buffer[..length]).await.is_err() {
            return false;
        }
        count.fetch_add(length, Relaxed);
        left -= length;
    }
    true
}
