//! A resolver for Pods. It resolves the fake tenants, and every name below a search domain, as in some companies.
//!
//! It has only IPv4 addresses, responds over UDP, and sends no queries to other resolvers.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

/// A running resolver. It stops on drop.
#[derive(Debug)]
pub struct Resolver {
    task: AbortHandle,
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A domain, and the address of all names in it.
#[derive(Clone, Debug)]
pub struct Zone {
    /// The domain, without a leading or trailing dot.
    pub suffix: &'static str,
    /// The address of the domain and of all names below it.
    pub address: Ipv4Addr,
}

impl Resolver {
    /// Starts a resolver at this address for these zones. Other names do not exist.
    pub async fn start(address: SocketAddr, zones: Vec<Zone>) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind(address).await.with_context(|| format!("cannot answer DNS at {address}"))?;
        let task = tokio::spawn(async move {
            let mut buffer = [0; 512];
            loop {
                let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
                if let Some(answer) = answer(&buffer[..length], &zones) {
                    // A Pod that was deleted needs no response.
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        Ok(Self { task: task.abort_handle() })
    }
}

/// The response to a query with one question; RFC 1035, section 4.
fn answer(query: &[u8], zones: &[Zone]) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    let (mut name, mut at) = (String::new(), HEADER);
    loop {
        let length = usize::from(*query.get(at)?);
        let label = query.get(at + 1..at + 1 + length)?;
        at += 1 + length;
        if length == 0 {
            break;
        }
        name = if name.is_empty() { String::new() } else { name + "." } + std::str::from_utf8(label).ok()?;
    }
    let question = query.get(HEADER..at + 4)?;
    let is_address = question.ends_with(&[0, 1, 0, 1]);
    let found = find(&name.to_ascii_lowercase(), zones);
    let mut answer = query.get(..2)?.to_vec();
    // Flags: a response, recursion available; and NXDOMAIN or no error.
    answer.extend([0x81, if found.is_some() { 0x80 } else { 0x83 }]);
    let records = u8::from(is_address && found.is_some());
    answer.extend([0, 1, 0, records, 0, 0, 0, 0]);
    answer.extend(question);
    if let Some(address) = found.filter(|_| is_address) {
        // The name of the question, an address, a TTL of five seconds.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}

fn find(name: &str, zones: &[Zone]) -> Option<Ipv4Addr> {
    let within =
        |zone: &&Zone| name.strip_suffix(zone.suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    zones.iter().find(within).map(|zone| zone.address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str, kind: u8) -> Vec<u8> {
        let mut query = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            query.push(u8::try_from(label.len()).unwrap());
            query.extend(label.as_bytes());
        }
        query.extend([0, 0, kind, 0, 1]);
        query
    }

    #[test]
    fn a_name_of_a_zone_has_its_address_and_others_do_not_exist() {
        let zones = [Zone { suffix: "qlikcloud.com", address: Ipv4Addr::new(10, 0, 0, 1) }];
        let known = answer(&query("acme.eu.QlikCloud.com", 1), &zones).unwrap();
        assert_eq!((known[..4].to_vec(), known[7]), (vec![7, 9, 0x81, 0x80], 1));
        assert!(known.ends_with(&[0, 4, 10, 0, 0, 1]));
        let ipv6 = answer(&query("acme.eu.qlikcloud.com", 28), &zones).unwrap();
        assert_eq!((ipv6[3], ipv6[7]), (0x80, 0), "the name exists and has no address of this type");
        for other in ["acme.eu.qlikcloud.com.svc.cluster.local", "notqlikcloud.com"] {
            let unknown = answer(&query(other, 1), &zones).unwrap();
            assert_eq!((unknown[3], unknown[7]), (0x83, 0), "{other}");
        }
        assert_eq!(answer(&[1, 2, 3], &zones), None);
    }
}
