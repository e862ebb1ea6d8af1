//! Waiting for something to come true, with an error that says what did not.

use std::time::{Duration, Instant};

use anyhow::anyhow;

const POLL: Duration = Duration::from_millis(25);

/// Asks `attempt` again and again until it has an answer. An error ends it, as does `limit`.
pub(super) async fn until<T>(
    what: &str,
    limit: Duration,
    mut attempt: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(answer) = attempt().await? {
            return Ok(answer);
        }
        if begin.elapsed() > limit {
            return Err(anyhow!("waited {} s in vain for {what}", limit.as_secs()));
        }
        tokio::time::sleep(POLL).await;
    }
}
