//! Deadlines that look once more before they end something.
//!
//! After a pause of the whole process, timers that ended in it are told before the bytes that arrived in it: somebody
//! whose request was already here would be closed on for being idle.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioTimer;
use tokio::time::Sleep;

/// How long the runtime has to find what has arrived.
pub(crate) const LAST_LOOK: Duration = Duration::from_millis(20);

/// Ends at a time, and not before the runtime has looked for I/O after that time.
pub(crate) struct Deadline {
    time: tokio::time::Instant,
    sleep: Pin<Box<Sleep>>,
    looked: bool,
}

impl Deadline {
    pub(crate) fn at(time: tokio::time::Instant) -> Self {
        Self {
            time,
            sleep: Box::pin(tokio::time::sleep_until(time)),
            looked: false,
        }
    }

    /// The time it was set to.
    pub(crate) fn time(&self) -> tokio::time::Instant {
        self.time
    }

    pub(crate) fn after(time: Duration) -> Self {
        Self::at(tokio::time::Instant::now() + time)
    }
}

impl Future for Deadline {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.sleep.as_mut().poll(cx));
        if self.looked {
            return Poll::Ready(());
        }
        self.looked = true;
        self.sleep
            .as_mut()
            .reset(tokio::time::Instant::now() + LAST_LOOK);
        self.sleep.as_mut().poll(cx)
    }
}

impl hyper::rt::Sleep for Deadline {}

/// What comes of a future until the deadline; `None` after it.
pub(crate) async fn within<T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        it = future => Some(it),
        () = Deadline::after(time) => None,
    }
}

/// hyper's deadline for the head of a request.
#[derive(Clone, Debug)]
pub(crate) struct Deadlines;

impl hyper::rt::Timer for Deadlines {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Deadline::after(duration))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Deadline::at(deadline.into()))
    }

    fn now(&self) -> Instant {
        TokioTimer::new().now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn a_deadline_ends_a_look_after_its_time() {
        let begun = tokio::time::Instant::now();
        Deadline::after(TIME).await;
        assert_eq!(begun.elapsed(), TIME + LAST_LOOK);
        assert_eq!(within(TIME, std::future::pending::<()>()).await, None);
        assert_eq!(begun.elapsed(), 2 * (TIME + LAST_LOOK));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_found_after_a_pause_beyond_the_deadline_counts() {
        let arrives = async {
            // The time passes while nobody is polled, and what has come meanwhile is told a little later.
            tokio::time::advance(10 * TIME).await;
            tokio::time::sleep(LAST_LOOK / 2).await;
        };
        assert_eq!(within(TIME, arrives).await, Some(()));
    }
}
