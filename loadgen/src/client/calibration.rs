//! What an emulated link does, measured before anything is measured over it: with a peer of our own, through the same stage as
//! every client.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::link::wire_bytes;
use super::path::Path;
use super::{Cadence, Setup};
use crate::clock::{Nanos, always, now};
use crate::result::link::{Calibration, Link};
use crate::result::variant::Headers;

/// So many round trips; of an odd number one is in the middle.
const TRIPS: usize = 5;
/// As much as a rate lets through in this time.
const BULK: Duration = Duration::from_secs(1);
/// But at least, and at most, so many bytes.
const SIZES: [f64; 2] = [32e3, 16e6];
/// What the peer is asked to do.
const ECHO: u8 = b'e';
const SEND: u8 = b's';
const TAKE: u8 = b't';

/// Measures a link.
///
/// # Errors
///
/// If this machine cannot connect to itself.
pub async fn calibrate(link: &Link) -> Result<Calibration> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.context("cannot listen to measure the link")?;
    let setup = setup(listener.local_addr()?, link);
    let peer = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // What went wrong is seen at the other end.
            tokio::spawn(serve(stream));
        }
    });
    let measured = measure(&setup, link).await;
    peer.abort();
    measured.context("cannot measure the link")
}

async fn measure(setup: &Setup, link: &Link) -> io::Result<Calibration> {
    let mut trips = Vec::new();
    let mut path = Path::connect(setup).await?;
    path.write_all(&[ECHO]).await?;
    for _ in 0..TRIPS {
        let begun = now();
        path.write_all(b"x").await?;
        path.read_u8().await?;
        trips.push(now() - begun);
    }
    trips.sort_unstable();
    let mut rates = [None; 2];
    if let Some(kbit) = link.down_kbit {
        let mut path = Path::connect(setup).await?;
        path.write_all(&[SEND]).await?;
        path.write_u64(size(kbit)).await?;
        rates[0] = Some(taken(&mut path, size(kbit)).await?);
    }
    if let Some(kbit) = link.up_kbit {
        let mut path = Path::connect(setup).await?;
        path.write_all(&[TAKE]).await?;
        path.write_u64(size(kbit)).await?;
        path.write_all(&vec![0; size(kbit) as usize]).await?;
        rates[1] = Some(path.read_f64().await?);
    }
    let [down_kbit, up_kbit] = rates;
    Ok(Calibration {
        rtt_ms: trips[TRIPS / 2] as f64 / 1e6,
        down_kbit,
        up_kbit,
    })
}

/// Bytes to send for a rate.
fn size(kbit: f64) -> u64 {
    let [least, most] = SIZES;
    (kbit * 125.0 * BULK.as_secs_f64()).clamp(least, most) as u64
}

/// The peer, with no link of its own.
async fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match stream.read_u8().await? {
        ECHO => loop {
            let byte = stream.read_u8().await?;
            stream.write_u8(byte).await?;
        },
        SEND => {
            let size = stream.read_u64().await?;
            stream.write_all(&vec![0; size as usize]).await?;
            // Whoever asked closes.
            stream.read_u8().await.map(drop)
        }
        _ => {
            let size = stream.read_u64().await?;
            let rate = taken(&mut stream, size).await?;
            stream.write_f64(rate).await
        }
    }
}

/// Reads so many bytes; the rate at which they came, from the first of them on, in kbit/s.
async fn taken(stream: &mut (impl AsyncReadExt + Unpin), size: u64) -> io::Result<f64> {
    let (mut buffer, mut came, mut first) = (vec![0; 64 * 1024], 0, None::<(Nanos, u64)>);
    while came < size {
        let length = stream.read(&mut buffer).await? as u64;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        came += length;
        first.get_or_insert((now(), came));
    }
    let (begun, before) = first.unwrap_or_default();
    let bits = 8.0 * (wire_bytes(size) - wire_bytes(before)) as f64;
    Ok(bits * 1e6 / (now() - begun).max(1) as f64)
}

fn setup(addr: SocketAddr, link: &Link) -> Setup {
    Setup {
        addr,
        dialect: Arc::default(),
        room: String::new(),
        cadence: Cadence {
            interval: Duration::from_secs(1),
            phase: Duration::ZERO,
        },
        hold: Duration::ZERO,
        headers: Headers::Minimal,
        active: always(),
        keep_alive: true,
        timestamped: false,
        meter: Arc::default(),
        link: Some(Arc::new(link.clone())),
        line: None,
    }
}
