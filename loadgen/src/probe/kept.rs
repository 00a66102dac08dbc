//! A connection for one request after the other that is opened again when its peer has closed it; and publishing over it.

use std::time::Duration;

use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderName};
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use super::connection::{Answer, Http, Path};
use super::findings::End;

/// A message is published again after this long, as often as this: with several servers, a stream hears of one alone.
pub(super) const AGAIN: Duration = Duration::from_millis(300);
pub(super) const TIMES: usize = 6;

/// A connection that is opened again when its peer has closed it.
pub(super) struct Kept<'a> {
    pub(super) path: &'a Path,
    http: Option<Http>,
}

impl<'a> Kept<'a> {
    pub(super) fn on(path: &'a Path) -> Self {
        Self { path, http: None }
    }

    pub(super) async fn answer(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: &str,
    ) -> Result<Answer, End> {
        if let Some(http) = &mut self.http
            && let Ok(answer) = http
                .answer(method.clone(), path, headers, body.to_owned())
                .await
        {
            return Ok(answer);
        }
        let http = self.http.insert(self.path.http().await?);
        http.answer(method, path, headers, body.to_owned()).await
    }

    /// Publishes a text as a program does; whether it was taken.
    pub(super) async fn publish(&mut self, text: &str) -> bool {
        self.post(text, &[])
            .await
            .is_ok_and(|answer| answer.status.is_success())
    }

    pub(super) async fn post(
        &mut self,
        text: &str,
        more: &[(HeaderName, &str)],
    ) -> Result<Answer, End> {
        let headers = [&[(CONTENT_TYPE, "application/json")], more].concat();
        let draft = json!({ "from": "probe", "text": text }).to_string();
        let path = self.path.at("messages", "");
        self.answer(Method::POST, &path, &headers, &draft).await
    }
}

/// Publishes this text several times from this moment on, so that each of several servers has it.
pub(super) async fn publish_at(path: &Path, when: Instant, text: &str) {
    sleep_until(when).await;
    let mut kept = Kept::on(path);
    for _ in 0..TIMES {
        kept.publish(text).await;
        sleep(AGAIN).await;
    }
}
