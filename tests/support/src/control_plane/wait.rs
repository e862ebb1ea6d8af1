//! Waits until a condition holds, with an error that names the condition.

use std::time::{Duration, Instant};

use anyhow::anyhow;

const POLL: Duration = Duration::from_millis(25);

/// Calls `attempt` repeatedly until it returns a value. Ends at its first error or after `limit`.
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
            return Err(anyhow!("timed out after {} s waiting for {what}", limit.as_secs()));
        }
        tokio::time::sleep(POLL).await;
    }
}
