//! Attacks that try to have a credential sent to a wrong host. Each test checks that no connection is made.
//!
//! There are three checks in sequence: the spelling ([`TenantUrl`]), the operator's list ([`AllowedHosts`]), and the
//! address (the transport). Each is tested alone, with the earlier ones passing. The rules of the CRD are not involved.

use std::net::IpAddr;

use futures::future::{BoxFuture, join_all};
use hyper_util::client::proxy::matcher::Matcher;
use qlik_context_operator::api::ConditionType::TokenIssued;
use qlik_context_operator::api::Reason;
use qlik_context_operator::clock::Clock;
use qlik_context_operator::error::Failure;
use qlik_context_operator::oauth::address::AddressPolicy::{self, PrivateToo, PublicOnly};
use qlik_context_operator::oauth::https::{Https, Resolver};
use qlik_context_operator::oauth::request::TokenRequest;
use qlik_context_operator::oauth::tenant::{AllowedHosts, TenantUrl};

use crate::door::Door;
use crate::world::{Names, World, https, request, request_token, stalls};

/// The first check that fails.
#[derive(Debug, PartialEq)]
enum Stopped {
    Spelling,
    List,
    /// The transport, with its failure.
    Transport(Failure),
}

/// One token request through every check. It never succeeds, because there is no tenant.
async fn attempt(url: &str, list: &str, names: &Names, policy: AddressPolicy) -> Stopped {
    let Ok(tenant) = url.parse::<TenantUrl>() else { return Stopped::Spelling };
    if !list.parse::<AllowedHosts>().unwrap().allows(&tenant) {
        return Stopped::List;
    }
    Stopped::Transport(knock(&https(Matcher::builder().build(), names.clone(), policy, None), tenant).await)
}

/// One token request at the last check.
async fn knock(https: &Https, tenant: TenantUrl) -> Failure {
    let request = TokenRequest { tenant, ..request("https://stand.in") };
    request_token(https, &request, Clock::system().now()).await.err().unwrap()
}

fn not_public(row: &str, stopped: &Stopped) {
    let Stopped::Transport(failure) = stopped else { panic!("{row}: {stopped:?}") };
    stalls(Reason::AddressNotPublic, "--allow-private-addresses").check(row, TokenIssued, failure);
}

#[tokio::test]
async fn a_url_that_another_parser_reads_as_an_address_gets_no_connection() {
    let door = Door::open().await;
    let (nowhere, lenient) = (Names::at(&[&["127.0.0.1"]]), reqwest::Client::builder().no_proxy().build().unwrap());
    let mut knocked = 0;
    for url in [
        "https://2130706433:DOOR",
        "https://0x7f000001:DOOR",
        "https://0x7f.1:DOOR",
        "https://0177.0.0.1:DOOR",
        "https://017700000001:DOOR",
        "https://127.1:DOOR",
        "https://127.0.0.1.:DOOR",
        "https://127.0.0.1:DOOR/path",
        "https://127.0.0.1:DOOR/?@acme.eu.qlikcloud.com",
        "https://127.0.0.1:DOOR#@acme.eu.qlikcloud.com",
        r"https://127.0.0.1:DOOR\@acme.eu.qlikcloud.com",
        r"https:\\127.0.0.1:DOOR",
        "https:///127.0.0.1:DOOR",
        "https:127.0.0.1:DOOR",
        "HTTPS://127.0.0.1:DOOR",
        " https://127.0.0.1:DOOR",
        "https://127.0.0.1:DOOR\n",
        "ht\ntps://127.0.0.1:DOOR",
        "https://127.0.\t0.1:DOOR",
        "https://acme.eu.qlikcloud.com@127.0.0.1:DOOR",
        "https://acme.eu.qlikcloud.com:443@127.0.0.1:DOOR",
        "https://@127.0.0.1:DOOR",
        "https://127。0。0。1:DOOR",
        "https://１２７.0.0.1:DOOR",
        "https://%31%32%37.0.0.1:DOOR",
        "https://[::ffff:127.0.0.1]:DOOR",
        "https://[0:0:0:0:0:ffff:7f00:1]:DOOR",
        "http://127.0.0.1:DOOR",
    ] {
        let url = url.replace("DOOR", &door.port().to_string());
        let everything = format!("*:{0},127.0.0.1:{0},[::ffff:7f00:1]:{0}", door.port());
        assert_eq!(attempt(&url, &everything, &nowhere, PrivateToo).await, Stopped::Spelling, "{url:?}");
        assert_eq!(door.knocks().await, knocked, "{url:?}");
        // The attack is real: a lenient client connects to the door.
        assert!(lenient.get(&url).send().await.is_err());
        let before = std::mem::replace(&mut knocked, door.knocks().await);
        assert!(knocked > before, "{url:?}");
    }
}

#[tokio::test]
async fn a_name_that_only_resembles_a_tenants_name_gets_no_connection() {
    let door = Door::open().await;
    let here = Names::at(&[&["127.0.0.1"]]);
    let (default, at_door) = ("*.qlikcloud.com,*.qlikcloudgov.com", format!("*.qlikcloud.com:{}", door.port()));
    for (host, stopped) in [
        ("evilqlikcloud.com", Stopped::List),
        ("acme.evilqlikcloud.com", Stopped::List),
        ("qlikcloud.com", Stopped::List),
        ("qlikcloud.com.evil.com", Stopped::List),
        ("acme.eu.qlikcloud.com.evil.com", Stopped::List),
        ("acme.eu.qlikcloud.co", Stopped::List),
        ("acme.eu.qlikcloud.comm", Stopped::List),
        ("acme.eu-qlikcloud.com", Stopped::List),
        // Cyrillic а, in Unicode and in the form for DNS.
        ("\u{430}cme.eu.qlikcloud.com", Stopped::Spelling),
        ("acme.eu.qlikcl\u{43e}ud.com", Stopped::Spelling),
        ("acme.eu.xn--qlikclud-sbh.com", Stopped::List),
        ("acme.eu.qlikcloud.com.", Stopped::Spelling),
        ("acme.eu.qlikcloud.com..", Stopped::Spelling),
        (".eu.qlikcloud.com", Stopped::Spelling),
        ("..qlikcloud.com", Stopped::Spelling),
        ("acme。eu。qlikcloud。com", Stopped::Spelling),
        ("acme.eu.qlikcloud\u{ff0e}com", Stopped::Spelling),
        ("ａcme.eu.qlikcloud.com", Stopped::Spelling),
        ("acme.eu.qlikcloud.com\u{200b}", Stopped::Spelling),
        ("acme.eu.qlik\u{ad}cloud.com", Stopped::Spelling),
        ("acme%2eeu.qlikcloud.com", Stopped::Spelling),
        ("evil.com%2f.qlikcloud.com", Stopped::Spelling),
        ("evil.com%00.qlikcloud.com", Stopped::Spelling),
        ("evil.com%23.qlikcloud.com", Stopped::Spelling),
        ("evil.com\\.qlikcloud.com", Stopped::Spelling),
        ("evil.com/.qlikcloud.com", Stopped::Spelling),
        ("evil.com?.qlikcloud.com", Stopped::Spelling),
        ("evil.com#.qlikcloud.com", Stopped::Spelling),
        ("acme.eu.qlikcloud.com@evil.com", Stopped::Spelling),
        ("evil.com:443@acme.eu.qlikcloud.com", Stopped::Spelling),
        ("evil_host.qlikcloud.com", Stopped::Spelling),
        ("*.qlikcloud.com", Stopped::Spelling),
        ("ACME.eu.qlikcloud.com", Stopped::Spelling),
    ] {
        let url = format!("https://{host}:{}", door.port());
        assert_eq!(attempt(&url, &at_door, &here, PrivateToo).await, stopped, "{url:?}");
    }
    // An allowed name, with another port than in the list.
    let url = format!("https://acme.eu.qlikcloud.com:{}", door.port());
    for list in [default, "acme.eu.qlikcloud.com", "*", "*:8443", "*.qlikcloud.com:1", "", "127.0.0.1"] {
        assert_eq!(attempt(&url, list, &here, PrivateToo).await, Stopped::List, "{list:?}");
    }
    assert_eq!((door.knocks().await, here.asked()), (0, 0), "no name was looked up");
    // The door accepts connections, so an allowed URL reaches it.
    assert!(matches!(attempt(&url, &at_door, &here, PrivateToo).await, Stopped::Transport(_)));
    assert_eq!(door.knocks().await, 1);
}

/// Resolves the name `n<index>` to the address at this index of the list.
struct Listed(Vec<&'static str>);

impl Resolver for Listed {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, std::io::Result<Vec<IpAddr>>> {
        let place: usize = host.trim_start_matches('n').split('.').next().unwrap().parse().unwrap();
        let address = self.0[place].parse().unwrap();
        Box::pin(async move { Ok(vec![address]) })
    }
}

/// Attempts for each address, as a literal and through a name, with their results.
async fn to_addresses(list: &[&'static str], policy: AddressPolicy, door: &Door) -> Vec<(String, Stopped)> {
    let https = &https(Matcher::builder().build(), Listed(list.to_vec()), policy, None);
    let ways = list.iter().enumerate().flat_map(|(place, address)| {
        let literal = match address.parse().unwrap() {
            IpAddr::V4(address) => address.to_string(),
            // The form of the URL parser, which is the only spelling that passes the first check.
            IpAddr::V6(address) => url::Host::<String>::Ipv6(address).to_string(),
        };
        [(address, literal), (address, format!("n{place}.eu.qlikcloud.com"))]
    });
    join_all(ways.map(async |(address, host)| {
        let tenant = format!("https://{host}:{}", door.port()).parse().unwrap();
        (format!("{address} {policy:?}"), Stopped::Transport(knock(https, tenant).await))
    }))
    .await
}

#[tokio::test]
async fn an_address_that_is_not_public_gets_no_connection_in_any_notation() {
    let door = Door::open().await;
    let private = [
        "127.0.0.1",
        "127.255.255.254",
        "::ffff:127.0.0.1",
        "::ffff:0:127.0.0.1",
        "::127.0.0.1",
        "::1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::808:808",
        "64:ff9b:1:808:8:800::",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "2001:0:808:808:0:0:80ff:fffe",
        "2001:0:a00:1:0:0:f7f7:f7f7",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "fc00::1",
        "fd12:3456::1",
        "fec0::1",
        "192.0.0.1",
        "192.0.2.1",
        "198.51.100.1",
        "203.0.113.1",
        "198.18.0.1",
        "240.0.0.1",
        "2001:db8::1",
        "3fff::1",
        "100::1",
        "5f00::1",
    ];
    let never = [
        "0.0.0.0",
        "0.1.2.3",
        "::",
        "::2",
        "::ffff:0.0.0.0",
        "169.254.169.254",
        "169.254.170.2",
        "::ffff:169.254.169.254",
        "::169.254.169.254",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::a9fe:a9fe",
        "64:ff9b:1:a9fe:a9:fe00::",
        "2002:a9fe:a9fe::1",
        "2001:0:a9fe:a9fe::1",
        "fe80::1",
        "fe80::a9fe:a9fe",
        "fd00:ec2::254",
        "fd20:ce::254",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "224.0.0.1",
        "239.255.255.250",
        "ff02::1",
        "255.255.255.255",
    ];
    for (list, policy) in [(&private[..], PublicOnly), (&never, PublicOnly), (&never, PrivateToo)] {
        for (row, stopped) in to_addresses(list, policy, &door).await {
            not_public(&row, &stopped);
        }
    }
    assert_eq!(door.knocks().await, 0);
    // With a policy that allows them, these addresses reach the door.
    let _ = to_addresses(&["127.0.0.1", "::ffff:127.0.0.1"], PrivateToo, &door).await;
    assert_eq!(door.knocks().await, 4);
}

#[tokio::test]
async fn a_name_with_one_private_address_among_public_ones_is_refused() {
    let door = Door::open().await;
    let url = format!("https://acme.eu.qlikcloud.com:{}", door.port());
    let list = format!("*:{}", door.port());
    // The public addresses are of a former network that is no longer in use.
    for answer in [
        &["3ffe::1", "127.0.0.1"][..],
        &["127.0.0.1", "3ffe::1"],
        &["3ffe::1", "3ffe::2", "::1"],
        &["3ffe::1", "fd00:ec2::254", "3ffe::2"],
    ] {
        let stopped = attempt(&url, &list, &Names::at(&[answer]), PublicOnly).await;
        not_public(&format!("{answer:?}"), &stopped);
    }
    let stopped = attempt(&url, &list, &Names::at(&[&["127.0.0.1", "169.254.169.254"]]), PrivateToo).await;
    not_public("a metadata address", &stopped);
    assert_eq!(door.knocks().await, 0);
}

#[tokio::test]
async fn a_name_is_resolved_once_for_the_address_that_is_connected_to() {
    let door = Door::open().await;
    // If the name were resolved again between the check and the connection, the second address would be used unchecked.
    let rebinding = Names::at(&[&["127.0.0.1"], &["169.254.169.254"]]);
    let world = World::with(|_| Matcher::builder().build(), rebinding.clone()).await;
    world.row().ask().await.unwrap();
    assert_eq!(rebinding.asked(), 1, "both calls use one connection");
    // The next connection resolves and checks the name again.
    world.cloud.cut_connections();
    not_public("rebound", &Stopped::Transport(world.row().issue().await.err().unwrap()));
    assert_eq!(rebinding.asked(), 2);
    let url = format!("https://acme.eu.qlikcloud.com:{}", door.port());
    let rebinding = Names::at(&[&["10.0.0.1"], &["127.0.0.1"]]);
    not_public(
        "rebound to a public address",
        &attempt(&url, &format!("*:{}", door.port()), &rebinding, PublicOnly).await,
    );
    assert_eq!((door.knocks().await, rebinding.asked()), (0, 1));
}
