//! Publishing over a WebSocket: a frame is a draft, and its answer a frame, too.

use serde_json::{Value, json};

use crate::App;
use crate::error::ApiError;
use crate::message::{self, Draft};
use crate::publish::{self, publish};
use crate::rooms::RoomName;

/// Publishes what a frame holds, and says what came of it.
pub(super) async fn answer(app: &App, room: &RoomName, text: &[u8]) -> Value {
    match try_publish(app, room, text).await {
        Ok(answer) => answer,
        Err(error) => refusal(&error.reason, text),
    }
}

/// `{"ack":{"cursor","key"?,"differs"?}}`.
async fn try_publish(app: &App, room: &RoomName, text: &[u8]) -> Result<Value, ApiError> {
    let draft = Draft::from_json(text)?;
    let published = publish(app, room, &draft).await?;
    let mut ack = publish::answer(&published);
    if let Some(key) = &draft.key {
        ack["key"] = (&**key).into();
    }
    Ok(json!({ "ack": ack }))
}

/// `{"error":{"reason","key"?}}`: the key is told if one can be made out, so that the client knows which of its
/// messages it was.
fn refusal(reason: &str, text: &[u8]) -> Value {
    match message::key_of(text) {
        Some(key) => json!({ "error": { "reason": reason, "key": key } }),
        None => json!({ "error": { "reason": reason } }),
    }
}
