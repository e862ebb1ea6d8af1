//! The circuit breaker of a host: whether it is worth asking at all.

/// What a request showed of its host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Health {
    /// It did what it was asked.
    Up,
    /// It answered, though not as hoped.
    Answers,
    /// 5xx, no answer in time, or no connection.
    Down,
}
