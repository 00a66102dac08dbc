//! One connection that publishes, in whichever dialect; what a subscriber's own connection publishes is `Client::publish`.

use super::dialect::Draft;
use super::http::{Http, Repeat};
use super::{Acked, Failure, Setup};

/// A keep-alive connection that publishes, and is made again when it is lost.
pub struct Publisher {
    setup: Setup,
    http: Result<Http, Failure>,
}

impl Publisher {
    /// Connects; that it could not is told to the first who publishes.
    pub async fn connect(setup: &Setup) -> Self {
        Self {
            http: Http::connect(setup, "").await,
            setup: setup.clone(),
        }
    }

    /// Publishes into a room; tells where the message stands, and when its answer was read.
    pub async fn publish(&mut self, room: &str, draft: &Draft) -> Result<Acked, Failure> {
        let acked = match &mut self.http {
            Ok(http) => {
                let uri = self.setup.dialect.publish(room)?;
                // With its key the workbench stores it once, however often it comes.
                let is_foreign = self.setup.dialect.is_foreign;
                let repeat = if is_foreign {
                    Repeat::Never
                } else {
                    Repeat::Harmless
                };
                let cursor = http.publish(uri, draft.json(), repeat).await;
                cursor.map(|cursor| Acked {
                    cursor,
                    at: http.received(),
                })
            }
            Err(failure) => Err(failure.clone()),
        };
        if matches!(acked, Err(Failure::Io(_) | Failure::Own(_))) {
            self.http = Http::connect(&self.setup, "").await;
        }
        acked
    }
}
