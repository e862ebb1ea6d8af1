//! The chart passes only flags that the program has, with the meaning of its values.

use clap::Parser as _;
use qlik_context_operator::oauth::address::AddressPolicy;
use qlik_context_operator::run::args::{Command, CommandLine, RunArgs};
use qlik_context_operator::run::telemetry::LogFormat;
use serde_json::json;

use super::helm::Rendered;
use super::values::{alternatives, everything};

/// Parses the flags with the program's own parser.
fn read<T>(what: &str, rendered: &Rendered, look: impl FnOnce(&RunArgs) -> T) -> T {
    let words = ["qlik-context-operator"].into_iter().chain(rendered.args());
    match CommandLine::try_parse_from(words) {
        Ok(CommandLine { command: Command::Run(args) }) => look(&args),
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn the_program_accepts_every_flag_that_the_chart_passes() {
    for (what, values) in alternatives() {
        read(what, &Rendered::new(&values), |_| ());
    }
}

#[test]
fn an_unset_value_passes_no_flag() {
    let rendered = Rendered::new(&json!({}));
    let flags = ["run", "--oauth-clients", "--leader-elect", "--lease-name=qlik-context-operator", "--log-format=json"];
    assert_eq!(rendered.args(), flags);
    assert!(rendered.container()["env"].is_null());
    // An empty list does not become a flag without a value.
    let empty = json!({"watchNamespaces": [], "allowedTenantHosts": [], "concurrency": null, "budget": {}});
    assert_eq!(Rendered::new(&empty).args(), flags);
}

#[test]
fn a_flag_has_the_meaning_of_its_value() {
    let rendered = Rendered::new(&everything());
    read("everything", &rendered, |args| {
        let limits = args.limits();
        assert_eq!(limits.concurrency, 8);
        assert_eq!(
            (limits.host_tokens_per_minute, limits.host_requests_per_minute, limits.key_tokens_per_minute),
            (50, 0, 5)
        );
        assert!(args.leader_elect && args.workloads);
        assert_eq!(args.lease_name, "qlik-context-operator");
        assert_eq!(args.log_format, LogFormat::Text);
        assert_eq!(args.log_filter, "qlik_context_operator=debug,info");
        assert_eq!(args.listen.to_string(), "0.0.0.0:8080");
        assert_eq!(args.address_policy(), AddressPolicy::PrivateToo);
    });
    assert!(rendered.args().contains(&"--allowed-tenant-hosts=*.eu.qlikcloud.com,tenant.example.com:8443"));
}

#[test]
fn scope_and_budget_are_passed_on() {
    let rendered = Rendered::new(&json!({
        "watchNamespaces": ["a", "b"],
        "contextSelector": "shard in (a, b)",
        "credentialSelector": "qlik=yes",
        // `0` (no limit) differs from an unset value.
        "budget": {"hostTokenRequestsPerMinute": 50, "hostApiRequestsPerMinute": 0, "keyTokenRequestsPerMinute": 5},
    }));
    let passed = rendered.args();
    for flag in [
        "--watch-namespaces=a,b",
        "--context-selector=shard in (a, b)",
        "--credential-selector=qlik=yes",
        "--host-token-requests-per-minute=50",
        "--host-api-requests-per-minute=0",
        "--key-token-requests-per-minute=5",
    ] {
        assert!(passed.contains(&flag), "{flag} in {passed:?}");
    }
}

#[test]
fn large_numbers_are_written_out() {
    let values = json!({"budget": {"hostTokenRequestsPerMinute": 10_000_000}, "networkPolicy": {"enabled": true}});
    assert!(Rendered::new(&values).args().contains(&"--host-token-requests-per-minute=10000000"));
}

#[test]
fn ca_certificates_are_mounted_and_their_file_is_passed() {
    let sources = [
        (
            json!({"configMap": {"name": "authorities", "key": "bundle.pem"}}),
            json!({"configMap": {"name": "authorities", "items": [{"key": "bundle.pem", "path": "ca.crt"}]}}),
        ),
        (
            json!({"secret": {"name": "authorities"}}),
            json!({"secret": {"secretName": "authorities", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}),
        ),
    ];
    for (source, mut volume) in sources {
        let rendered = Rendered::new(&json!({"tenantCA": source}));
        volume["name"] = "tenant-ca".into();
        assert_eq!(rendered.pod()["spec"]["volumes"], json!([volume]));
        let mount = &rendered.container()["volumeMounts"][0];
        assert_eq!((&mount["name"], &mount["readOnly"]), (&json!("tenant-ca"), &json!(true)));
        let file = read("authorities", &rendered, |args| args.tenant_ca_file.clone()).unwrap();
        assert_eq!(file.parent().unwrap().to_str(), mount["mountPath"].as_str());
        assert_eq!(file.file_name().unwrap(), "ca.crt");
    }
    assert!(Rendered::new(&json!({})).pod()["spec"]["volumes"].is_null());
}

#[test]
fn the_proxy_is_in_the_environment() {
    let proxy = |name: &str, value: &str| json!({"name": name, "value": value});
    let values = json!({"proxy": {"httpsProxy": "http://p:3128", "noProxy": "a,.b"}, "extraEnv": [proxy("TZ", "UTC")]});
    let rendered = Rendered::new(&values);
    let wanted = json!([proxy("HTTPS_PROXY", "http://p:3128"), proxy("NO_PROXY", "a,.b"), proxy("TZ", "UTC")]);
    assert_eq!(rendered.container()["env"], wanted);
}
