//! Which addresses a credential may be sent to: public ones. The check uses the address that is connected to.
//!
//! For an address that embeds another one (IPv4-mapped, NAT64, 6to4, Teredo), the embedded address is checked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Whether private addresses may be connected to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AddressPolicy {
    /// Only addresses of the public internet.
    PublicOnly,
    /// Also private, loopback and carrier-grade ones; never link-local, metadata, unspecified or multicast.
    PrivateToo,
}

/// Refused by every policy: no tenant is ever there, and some of these addresses serve cloud credentials.
const NEVER: &[&str] = &[
    "0.0.0.0/8",          // "this network", unspecified (RFC 1122)
    "169.254.0.0/16",     // link-local, with the metadata service of most clouds (RFC 3927)
    "168.63.129.16/32",   // Azure's host agent, on a public-looking address
    "100.100.100.200/32", // Alibaba's metadata service
    "192.0.0.192/32",     // Oracle's metadata service
    "224.0.0.0/4",        // multicast
    "255.255.255.255/32", // broadcast
    "::/128",             // unspecified
    "fe80::/10",          // link-local (RFC 4291)
    "fd00:42::42/128",    // Scaleway's metadata service
    "fd00:c1::/32",       // Oracle's metadata service
    "fd00:ec2::/32",      // AWS's metadata service
    "fd20:ce::254/128",   // Google's metadata service
    "ff00::/8",           // multicast
];

/// Special-purpose registries of IANA (RFC 6890 and successors), except those above.
const PRIVATE: &[&str] = &[
    "10.0.0.0/8",
    "100.64.0.0/10", // carrier-grade NAT
    "127.0.0.0/8",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15", // benchmarks
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
    // All except 2000::/3, the only assigned range (RFC 4291): loopback, unique-local, NAT64 of the local network and the rest.
    "::/3",
    "4000::/2",
    "8000::/1",
    "2001::/23", // protocol assignments; Teredo inside is unwrapped first
    "2001:db8::/32",
    "3fff::/20",
];

impl AddressPolicy {
    /// True when a connection to this address may be opened.
    pub fn allows(self, address: IpAddr) -> bool {
        innermost(address)
            .into_iter()
            .all(|address| !within(NEVER, address) && (self == Self::PrivateToo || !within(PRIVATE, address)))
    }
}

/// The addresses at which traffic to this one may end: itself, or those that it embeds.
fn innermost(address: IpAddr) -> Vec<IpAddr> {
    let IpAddr::V6(outer) = address else {
        return vec![address];
    };
    let bytes = outer.octets();
    let tail = |from: usize| Ipv4Addr::new(bytes[from], bytes[from + 1], bytes[from + 2], bytes[from + 3]);
    let inner = match outer.segments() {
        // IPv4-mapped, IPv4-translated (RFC 7915), NAT64 (RFC 6052).
        [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => vec![tail(12)],
        [0x64, 0xff9b, 1, ..] => return [vec![address], local_nat64(bytes)].concat(),
        // IPv4-compatible (deprecated), but not :: and ::1.
        [0, 0, 0, 0, 0, 0, ..] if !outer.is_unspecified() && outer != Ipv6Addr::LOCALHOST => {
            vec![tail(12)]
        }
        [0x2002, ..] => vec![tail(2)],
        // Teredo: the server in clear, the client with its bits flipped (RFC 4380).
        [0x2001, 0, ..] => vec![tail(4), Ipv4Addr::from_bits(!tail(12).to_bits())],
        _ => return vec![address],
    };
    inner.into_iter().map(IpAddr::V4).collect()
}

/// NAT64 of the local network (RFC 8215): private itself, whatever it leads to. The position of the embedded address depends on
/// the length of a prefix that only that network knows (RFC 6052, section 2.2), so every position that is not zero is checked.
fn local_nat64(bytes: [u8; 16]) -> Vec<IpAddr> {
    let places = [[6, 7, 9, 10], [7, 9, 10, 11], [9, 10, 11, 12], [12, 13, 14, 15]];
    let found = places.map(|place| place.map(|at: usize| bytes[at]));
    found.into_iter().filter(|octets| octets[0] != 0).map(|octets| IpAddr::V4(octets.into())).collect()
}

fn within(nets: &[&str], address: IpAddr) -> bool {
    nets.iter().filter_map(|net| net.parse::<IpNet>().ok()).any(|net| net.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn every_net_in_the_tables_parses() {
        assert!(NEVER.iter().chain(PRIVATE).all(|net| net.parse::<IpNet>().is_ok()));
    }

    #[test]
    fn public_addresses_are_allowed() {
        for text in ["18.200.1.1", "8.8.8.8", "2600:1f18::1", "64:ff9b::8.8.8.8", "2002:808:808::1", "::ffff:8.8.8.8"] {
            assert!(AddressPolicy::PublicOnly.allows(address(text)), "{text}");
        }
    }

    #[test]
    fn private_addresses_need_the_flag_however_they_are_wrapped() {
        for text in [
            "127.0.0.1",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "198.18.0.1",
            "::1",
            "fd00::1",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:a00:1::",
            "::10.0.0.1",
            "64:ff9b:1::808:808",
            "::ffff:0:10.0.0.1",
            "2001:0:808:808:0:0:f5ff:fffe", // Teredo, client 10.0.0.1
            "2001:0:a00:1:0:0:f7f7:f7f7",   // Teredo, server 10.0.0.1
            "64:ff9b:1:808:8:800::",        // 8.8.8.8 behind a prefix of 48 bits
            "fec0::1",
            "100::1",
            "5f00::1",
            "1::1",
            "4000::1",
            "3fff::1",
            "2001:db8::1",
            "192.0.0.1",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "192.88.99.1",
            "240.0.0.1",
            "100.127.255.254",
        ] {
            assert!(!AddressPolicy::PublicOnly.allows(address(text)), "{text}");
            assert!(AddressPolicy::PrivateToo.allows(address(text)), "{text}");
        }
    }

    #[test]
    fn metadata_and_its_like_are_refused_whatever_the_flag() {
        for text in [
            "169.254.169.254",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "168.63.129.16",
            "100.100.100.200",
            "::",
            "fe80::1",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::",
            "64:ff9b:1::a9fe:a9fe",
            "::ffff:0:169.254.169.254",
            "::169.254.169.254",
            "2001:0:a9fe:a9fe::1",
            "64:ff9b:1:a9fe:a9:fe00::",  // behind a prefix of 48 bits
            "64:ff9b:1:a9:fe:a9fe::",    // of 56
            "64:ff9b:1::a9:fea9:fe00:0", // of 64
            "0.1.2.3",
            "169.254.170.23",
            "239.255.255.255",
            "192.0.0.192",
            "fd00:ec2::23",
            "fd00:c1::a9fe:a9fe",
            "fd00:42::42",
            "fd20:ce::254",
            "::ffff:100.100.100.200",
            "2002:a83f:8110::1",
        ] {
            assert!(!AddressPolicy::PrivateToo.allows(address(text)), "{text}");
        }
    }
}
