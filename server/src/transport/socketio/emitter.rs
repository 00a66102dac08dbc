//! Emitting where the library's queue may be full: it has no way to wait for room.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use socketioxide::extract::SocketRef;
use socketioxide::{SendError, SocketError, TransportType};
use tokio::time::{Instant, sleep, sleep_until};

use super::opening::Opening;
use crate::App;
use crate::problems::Problem;

/// Between looks at a queue that is full: the first one, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(50)];
/// The library ends a session whose queue has no place for its ping: nothing is added to a full one from so long before it is
/// due until so long after.
const AROUND_PING: [Duration; 2] = [Duration::from_secs(1), Duration::from_millis(250)];

/// The connection is no more, or is not to be.
#[derive(Debug)]
pub(super) struct Ended;

#[derive(Clone)]
pub(super) struct Emitter {
    pub(super) app: Arc<App>,
    pub(super) socket: SocketRef,
    opening: Arc<Opening>,
}

impl Emitter {
    pub(super) fn new(app: Arc<App>, socket: SocketRef) -> Self {
        let opening = socket.req_parts().extensions.get::<Arc<Opening>>();
        let opening = opening.map_or_else(|| Opening::new(None), Arc::clone);
        Self {
            app,
            socket,
            opening,
        }
    }

    pub(super) async fn emit(&self, event: &str, data: &impl Serialize) -> Result<(), Ended> {
        self.send(|| self.socket.emit(event, data)).await
    }

    /// Sends, as soon as there is room; whoever takes nothing until the write deadline is disconnected.
    pub(super) async fn send(
        &self,
        mut send: impl FnMut() -> Result<(), SendError>,
    ) -> Result<(), Ended> {
        let [mut pause, longest] = PAUSES;
        let deadline = Instant::now() + self.app.config.write_deadline;
        loop {
            let polls = self.socket.transport_type() == TransportType::Polling;
            let sent = if polls && self.opening.is_full() {
                Err(SendError::Socket(SocketError::InternalChannelFull))
            } else {
                send()
            };
            match sent {
                Ok(()) => {
                    self.opening.is_emitted();
                    return Ok(());
                }
                Err(SendError::Socket(SocketError::InternalChannelFull)) => {}
                Err(_) => return Err(Ended),
            }
            if Instant::now() > deadline {
                self.app
                    .problem(Problem::Cut, None, "the peer does not read");
                self.disconnect().await;
                return Err(Ended);
            }
            sleep(pause).await;
            pause = (2 * pause).min(longest);
            self.leave_room_for_a_ping().await;
        }
    }

    async fn leave_room_for_a_ping(&self) {
        let [before, after] = AROUND_PING;
        let (period, now) = (self.app.config.heartbeat, Instant::now());
        let periods = (now - self.opening.time).div_duration_f64(period).ceil();
        let ping = self.opening.time + period.mul_f64(periods);
        if ping - now < before.min(period / 4) {
            sleep_until(ping + after.min(period / 8)).await;
        }
    }

    /// Disconnects the client, as soon as there is room even for that; if there is none, the library's ping does so.
    pub(super) async fn disconnect(&self) {
        let until = Instant::now() + 3 * self.app.config.heartbeat;
        while let Err(SocketError::InternalChannelFull) = self.socket.clone().disconnect() {
            if Instant::now() > until {
                return;
            }
            sleep(PAUSES[1]).await;
        }
    }
}
