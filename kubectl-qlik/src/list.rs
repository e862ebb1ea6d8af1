//! `list`: one line for each context.

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use qlik_context_operator::api::{ConditionType, QlikContext};
use serde_json::json;

use crate::args::{ClusterFlags, ListArgs, ListFormat};
use crate::cluster::Cluster;
use crate::document::{self, Format};
use crate::problem::Explain as _;
use crate::{age, context, screen};

/// Runs the command.
pub async fn run(flags: &ClusterFlags, args: &ListArgs) -> anyhow::Result<()> {
    let cluster = Cluster::connect(flags).await?;
    let contexts: Api<QlikContext> =
        if args.all_namespaces { Api::all(cluster.client.clone()) } else { cluster.objects() };
    let mut params = ListParams::default();
    params.label_selector.clone_from(&args.selector);
    let place = if args.all_namespaces { String::new() } else { format!(" in namespace {}", cluster.namespace) };
    let list = contexts.list(&params).await.explain(format_args!("cannot list QlikContexts{place}"))?;
    let items: Vec<_> = list.items.into_iter().map(document::shown).collect();
    let document = |format| document::print(&json!({"apiVersion": "v1", "kind": "List", "items": items}), format);
    match args.output {
        Some(ListFormat::Json) => return document(Format::Json),
        Some(ListFormat::Yaml) => return document(Format::Yaml),
        Some(ListFormat::Name) => items.iter().for_each(|context| screen::result(&document::name(context))),
        None | Some(ListFormat::Wide) if items.is_empty() => {
            screen::note(&format!("No QlikContexts found{place}. `kubectl qlik init NAME` sets one up."));
        }
        None | Some(ListFormat::Wide) => table(&items, args, Timestamp::now()),
    }
    Ok(())
}

fn table(items: &[QlikContext], args: &ListArgs, now: Timestamp) {
    let mut header = vec!["NAME", "READY", "REASON", "TENANT", "EXPIRES", "AGE"];
    if args.all_namespaces {
        header.insert(0, "NAMESPACE");
    }
    let wide = args.output == Some(ListFormat::Wide);
    if wide {
        header.extend(["USER", "SECRET", "RENEWS", "MESSAGE"]);
    }
    let rows = items.iter().map(|context| {
        let mut row = row(context, now);
        if args.all_namespaces {
            row.insert(0, context.namespace().unwrap_or_default());
        }
        if wide {
            row.extend(more(context, now));
        }
        row
    });
    screen::table(&header, rows.collect());
}

fn row(context: &QlikContext, now: Timestamp) -> Vec<String> {
    let ready = context::condition(context, ConditionType::Ready);
    let tenant = context.spec.tenant_url.trim_start_matches("https://").trim_end_matches('/');
    let expires = token_time(context, |token| token.expires_at.as_ref().map(|time| time.0));
    let created = context.metadata.creation_timestamp.as_ref().map(|time| time.0);
    vec![
        context.name_any(),
        ready.map_or("-".into(), |ready| ready.status.clone()),
        ready.map_or("-".into(), |ready| screen::harmless(&ready.reason)),
        screen::harmless(tenant),
        expires.map_or("-".into(), |time| age::left(time, now).map_or("expired".into(), age::span)),
        created.map_or("-".into(), |time| age::since(time, now)),
    ]
}

fn more(context: &QlikContext, now: Timestamp) -> Vec<String> {
    let identity = context.status.as_ref().and_then(|status| status.identity.as_ref());
    let renews = token_time(context, |token| token.renewal_time.as_ref().map(|time| time.0));
    let message = context::condition(context, ConditionType::Ready).map(|ready| ready.message.as_str());
    vec![
        identity.map_or("-".into(), |identity| screen::harmless(&identity.name)),
        context.target_name(),
        renews.map_or("-".into(), |time| age::left(time, now).map_or("due".into(), age::span)),
        message.map_or("-".into(), screen::harmless),
    ]
}

fn token_time(
    context: &QlikContext,
    time: impl Fn(&qlik_context_operator::api::v1alpha1::TokenStatus) -> Option<Timestamp>,
) -> Option<Timestamp> {
    context.status.as_ref()?.token.as_ref().and_then(time)
}
