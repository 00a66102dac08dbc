//! Framing made visible (RFC 6455 section 5): what a page's WebSocket can neither send nor see, the server sends to the one
//! that asks for it. This is where a message is not one frame.

use bytes::Bytes;
use serde::Deserialize;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};

/// In three pieces.
const FRAGMENTS: [&str; 3] = ["{\"shown\":\"a message", " in three", " fragments\"}"];
const PING: &str = "are you there?";
const GOODBYE: &str = "as you wished";

/// `{"show":"fragments"}`, `{"show":"ping"}` or `{"show":{"close":CODE}}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    show: Show,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Show {
    Fragments,
    Ping,
    Close(u16),
}

/// The frames that are asked for, if this is such a question; a code that may not be sent is told.
pub(super) fn asked(text: &[u8]) -> Option<Result<Vec<Frame>, &'static str>> {
    let Asked { show } = serde_json::from_slice(text).ok()?;
    let part = |(i, text): (usize, &&'static str)| {
        let code = if i == 0 { Data::Text } else { Data::Continue };
        let is_last = i + 1 == FRAGMENTS.len();
        Frame::message(
            Bytes::from_static(text.as_bytes()),
            OpCode::Data(code),
            is_last,
        )
    };
    Some(match show {
        Show::Fragments => Ok(FRAGMENTS.iter().enumerate().map(part).collect()),
        Show::Ping => Ok(vec![Frame::ping(Bytes::from_static(PING.as_bytes()))]),
        Show::Close(code) if CloseCode::from(code).is_allowed() => {
            let reason = GOODBYE.into();
            let code = code.into();
            Ok(vec![Frame::close(Some(CloseFrame { code, reason }))])
        }
        Show::Close(_) => {
            Err("a close may have a code of 1000 to 1014 but 1004 to 1006, or of 3000 to 4999")
        }
    })
}
