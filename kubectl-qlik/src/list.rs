//! `list`: every object of a kind in a line.

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use qlik_context_operator::api::{ConditionType, QlikContext, QlikOAuthClient};
use serde_json::json;

use crate::args::{ClusterFlags, Kind, ListArgs, ListFormat};
use crate::cluster::Cluster;
use crate::document::{self, Format};
use crate::object::{self, Reconciled};
use crate::{age, screen};

/// A kind with columns of its own, between REASON and AGE, and after it with `-o wide`.
trait Listed: Reconciled {
    const COLUMNS: [&'static str; 2];
    const MORE: &'static [&'static str];
    /// How to get the first one.
    const BEGIN: &'static str;

    fn columns(&self, now: Timestamp) -> [String; 2];
    fn more(&self, now: Timestamp) -> Vec<String>;
}

/// Runs the command.
pub async fn run(flags: &ClusterFlags, args: &ListArgs) -> anyhow::Result<()> {
    let cluster = Cluster::connect(flags).await?;
    match args.kind {
        Kind::Contexts => list::<QlikContext>(&cluster, args).await,
        Kind::OAuthClients => list::<QlikOAuthClient>(&cluster, args).await,
    }
}

async fn list<K: Listed>(cluster: &Cluster, args: &ListArgs) -> anyhow::Result<()> {
    let objects: Api<K> = if args.all_namespaces { Api::all(cluster.client.clone()) } else { cluster.objects() };
    let mut params = ListParams::default();
    params.label_selector.clone_from(&args.selector);
    let kind = K::KIND.api_name();
    let place = if args.all_namespaces { String::new() } else { format!(" in namespace {}", cluster.namespace) };
    let list = object::explained::<K, _>(objects.list(&params).await, format_args!("cannot list {kind}s{place}"))?;
    let items: Vec<K> = list.items.into_iter().map(object::shown).collect();
    let document = |format| document::print(&json!({"apiVersion": "v1", "kind": "List", "items": items}), format);
    match args.output {
        Some(ListFormat::Json) => return document(Format::Json),
        Some(ListFormat::Yaml) => return document(Format::Yaml),
        Some(ListFormat::Name) => items.iter().for_each(|item| screen::result(&object::full_name(item))),
        None | Some(ListFormat::Wide) if items.is_empty() => {
            let elsewhere = if args.all_namespaces { "" } else { ", -A looks in every namespace" };
            screen::note(&format!("No {kind}s found{place}. {}{elsewhere}.", K::BEGIN));
        }
        None | Some(ListFormat::Wide) => table(&items, args, Timestamp::now()),
    }
    Ok(())
}

fn table<K: Listed>(items: &[K], args: &ListArgs, now: Timestamp) {
    let [third, fourth] = K::COLUMNS;
    let mut header = vec!["NAME", "READY", "REASON", third, fourth, "AGE"];
    if args.all_namespaces {
        header.insert(0, "NAMESPACE");
    }
    let wide = args.output == Some(ListFormat::Wide);
    if wide {
        header.extend(K::MORE);
        header.push("MESSAGE");
    }
    let rows = items.iter().map(|item| {
        let mut row = row(item, now);
        if args.all_namespaces {
            row.insert(0, item.namespace().unwrap_or_default());
        }
        if wide {
            let message = object::condition(item, ConditionType::Ready).map(|ready| ready.message.as_str());
            row.extend(item.more(now));
            row.push(message.map_or("-".into(), screen::harmless));
        }
        row
    });
    screen::table(&header, rows.collect());
}

fn row<K: Listed>(item: &K, now: Timestamp) -> Vec<String> {
    let ready = object::condition(item, ConditionType::Ready);
    let [third, fourth] = item.columns(now);
    let created = item.meta().creation_timestamp.as_ref().map(|time| time.0);
    vec![
        item.name_any(),
        ready.map_or("-".into(), |ready| ready.status.clone()),
        ready.map_or("-".into(), |ready| screen::harmless(&ready.reason)),
        third,
        fourth,
        created.map_or("-".into(), |time| age::since(time, now)),
    ]
}

impl Listed for QlikContext {
    const COLUMNS: [&'static str; 2] = ["TENANT", "EXPIRES"];
    const MORE: &'static [&'static str] = &["USER", "SECRET", "RENEWS"];
    const BEGIN: &'static str = "`kubectl qlik init NAME` sets one up";

    fn columns(&self, now: Timestamp) -> [String; 2] {
        let tenant = self.spec.tenant_url.trim_start_matches("https://").trim_end_matches('/');
        let token = self.status.as_ref().and_then(|status| status.token.as_ref());
        let expires = token.and_then(|token| token.expires_at.as_ref()).map(|time| time.0);
        [screen::harmless(tenant), time_left(expires, now, "expired")]
    }

    fn more(&self, now: Timestamp) -> Vec<String> {
        let status = self.status.as_ref();
        let identity = status.and_then(|status| status.identity.as_ref());
        let renews = status.and_then(|status| status.token.as_ref()?.renewal_time.as_ref()).map(|time| time.0);
        vec![
            identity.map_or("-".into(), |identity| screen::harmless(&identity.name)),
            self.target_name(),
            time_left(renews, now, "due"),
        ]
    }
}

impl Listed for QlikOAuthClient {
    const COLUMNS: [&'static str; 2] = ["CONTEXT", "ROTATES"];
    const MORE: &'static [&'static str] = &["CLIENT-ID", "SECRET"];
    const BEGIN: &'static str = "docs/oauth-clients.md shows how to declare one";

    fn columns(&self, now: Timestamp) -> [String; 2] {
        let rotates = self.status.as_ref().and_then(|status| status.rotation_time.as_ref()).map(|time| time.0);
        [self.spec.admin_context_ref.name.clone(), time_left(rotates, now, "due")]
    }

    fn more(&self, _: Timestamp) -> Vec<String> {
        let id = self.status.as_ref().and_then(|status| status.client_id.as_deref());
        vec![id.map_or("-".into(), screen::harmless), self.secret_name()]
    }
}

/// The time until then, or what it is once that has passed.
fn time_left(time: Option<Timestamp>, now: Timestamp, over: &str) -> String {
    time.map_or("-".into(), |time| age::left(time, now).map_or(over.into(), age::span))
}
