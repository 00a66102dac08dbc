//! How a client enters: what it says, whether it may, and the reader that is its own from then on.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::Deserialize;
use socketioxide::extract::{SocketRef, TryData};

use super::emitter::Emitter;
use super::inbox::Inbox;
use super::reader::Reader;
use crate::App;
use crate::cursor::After;
use crate::error::Invalid;
use crate::presence::named;
use crate::query::position;
use crate::rooms::{LOBBY, RoomName, Subscription};
use crate::stats::Transport;

/// What a client may say when it connects.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Auth {
    room: Option<String>,
    after: Option<String>,
    name: Option<String>,
}

/// Who has been let in, until it is connected and its reader begins.
#[derive(Clone)]
struct Entry {
    room: RoomName,
    name: Option<Box<str>>,
    /// Taken by the reader.
    subscription: Arc<Mutex<Option<Subscription>>>,
    app: Arc<App>,
}

/// Lets a client in, or says why not: the client hears it as `connect_error`. What it sends is heard before it knows that.
pub(super) async fn check(
    app: &Arc<App>,
    socket: &SocketRef,
    TryData(auth): TryData<Auth>,
) -> Result<(), String> {
    let reason = |Invalid { reason, .. }| reason;
    let auth = auth.map_err(|error| format!("auth must be {{room?, after?, name?}}: {error}"))?;
    let room = RoomName::new(auth.room.as_deref().unwrap_or(LOBBY)).map_err(reason)?;
    let after = auth
        .after
        .map_or(Ok(After::Oldest), |text| position("after", &text));
    let after = after.map_err(reason)?;
    let name = named(auth.name.as_deref()).map_err(reason)?;
    let subscription = app.rooms.subscribe(&room, after).await;
    let subscription = subscription.map_err(|error| error.reason)?;
    Inbox::new(app, &room, name.as_deref()).open(socket);
    socket.extensions.insert(Entry {
        room,
        name,
        subscription: Arc::new(Mutex::new(Some(subscription))),
        app: Arc::clone(app),
    });
    Ok(())
}

/// A client is connected: a reader of its own emits what comes, until it is not.
pub(super) async fn enter(socket: SocketRef) {
    let Some(entry) = socket.extensions.remove::<Entry>() else {
        return;
    };
    let Entry {
        room,
        name,
        subscription,
        app,
    } = entry;
    let Some(subscription) = subscription.lock().take() else {
        return;
    };
    let present = app.presence.hold(&room, name, Transport::Socketio);
    let reader = Reader::new(Emitter::new(app, socket.clone()), subscription, present);
    let reading = tokio::spawn(reader.run()).abort_handle();
    socket.on_disconnect(async move || reading.abort());
}
