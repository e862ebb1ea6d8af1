//! Free ports for programs that have to be told theirs.
//!
//! Another process can take such a port before the program listens on it. A start that fails for this reason
//! ([`was_taken`]) is repeated with other ports, up to [`ATTEMPTS`] times.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// How often a program is started whose port was taken.
pub const ATTEMPTS: usize = 3;

/// Addresses on 127.0.0.1 that are free now. All are bound before one is released, so that they differ.
pub fn free<const N: usize>() -> io::Result<[SocketAddr; N]> {
    let listeners = (0..N).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<io::Result<Vec<_>>>()?;
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    for (address, listener) in addresses.iter_mut().zip(&listeners) {
        *address = listener.local_addr()?;
    }
    Ok(addresses)
}

/// Recognizes the error of a program that could not listen: programs in Go write `address already in use`, and those in
/// Rust `Address already in use`.
pub fn was_taken(error: &anyhow::Error) -> bool {
    format!("{error:#}").to_lowercase().contains("address already in use")
}
