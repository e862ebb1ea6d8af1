//! `GET /api/v1/oauth-clients`: filter (RFC 7644, section 3.4.2.2, only `eq` and `and`), limit and pages.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::{Value, json};

use super::document;
use crate::tenant::account::Account;
use crate::tenant::client::Client;
use crate::tenant::refusal::{Refusal, Refused};
use crate::tenant::reply::Reply;

const DEFAULT_LIMIT: usize = 20;
const PARAMETERS: [&str; 6] = ["filter", "limit", "next", "prev", "sort", "totalResults"];

fn malformed(detail: &'static str) -> Refused {
    Refusal::Malformed.because(detail)
}

pub(super) fn answer(account: &Account, host: &str, query: &str) -> Result<Reply, Refused> {
    let mut parameters = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if !PARAMETERS.contains(&&*name) || parameters.insert(name.into_owned(), value.into_owned()).is_some() {
            return Err(malformed("a parameter is not known or repeated"));
        }
    }
    let limit = match parameters.get("limit") {
        None => DEFAULT_LIMIT,
        Some(text) => {
            text.parse().ok().filter(|limit| (1..=100).contains(limit)).ok_or(malformed("limit is 1 to 100"))?
        }
    };
    let conditions = conditions(parameters.get("filter").map_or("", String::as_str))?;
    let after = match parameters.get("next") {
        None => String::new(),
        Some(mark) => {
            let bytes = URL_SAFE_NO_PAD.decode(mark).map_err(|_| malformed("next is not a mark of this list"))?;
            String::from_utf8(bytes).map_err(|_| malformed("next is not a mark of this list"))?
        }
    };
    let fits =
        |client: &&Client| conditions.iter().all(|(name, value)| attribute(account, client, name) == Some(value));
    let all: Vec<&Client> = account.clients.values().filter(fits).collect();
    let page: Vec<&Client> = all.iter().copied().filter(|client| client.client_id > after).take(limit).collect();
    let base = format!("https://{host}/api/v1/oauth-clients");
    let mut links = json!({"self": {"href": base}});
    if let (Some(last), Some(end)) = (page.last(), all.last())
        && last.client_id != end.client_id
    {
        let mut query = form_urlencoded::Serializer::for_suffix(format!("{base}?"), base.len() + 1);
        for (name, value) in parameters.iter().filter(|(name, _)| *name != "next") {
            query.append_pair(name, value);
        }
        query.append_pair("next", &URL_SAFE_NO_PAD.encode(&last.client_id));
        links["next"] = json!({"href": query.finish()});
    }
    let mut answer = json!({"data": page.into_iter().map(document::summary).collect::<Vec<_>>(), "links": links});
    if parameters.get("totalResults").is_some_and(|wanted| wanted == "true") {
        answer["totalResults"] = json!(all.len());
    }
    Ok(Reply::json(StatusCode::OK, &answer))
}

fn attribute<'c>(account: &'c Account, client: &'c Client, name: &str) -> Option<&'c str> {
    match name {
        "clientId" => Some(&client.client_id),
        "clientName" => Some(&client.name),
        "appType" => Some(&client.app_type),
        "tenantId" => Some(&account.id),
        "createdByType" => Some("service"),
        _ => None,
    }
}

const ATTRIBUTES: [&str; 5] = ["clientId", "clientName", "appType", "tenantId", "createdByType"];

/// One or more `attribute eq "value"`, joined by `and`.
fn conditions(filter: &str) -> Result<Vec<(String, String)>, Refused> {
    let wrong = || malformed("the filter is not one of eq and and");
    let (mut conditions, mut rest) = (Vec::new(), filter.trim());
    while !rest.is_empty() {
        let (name, after) = rest.split_once(' ').ok_or_else(wrong)?;
        let value = after.trim_start().strip_prefix("eq ").ok_or_else(wrong)?;
        let mut values = serde_json::Deserializer::from_str(value).into_iter::<Value>();
        let Some(Ok(Value::String(text))) = values.next() else { return Err(wrong()) };
        if !ATTRIBUTES.contains(&name) {
            return Err(malformed("the filter names an attribute that is not one to filter by"));
        }
        conditions.push((name.to_owned(), text));
        rest = value[values.byte_offset()..].trim();
        if !rest.is_empty() {
            rest = rest.strip_prefix("and ").ok_or_else(wrong)?.trim_start();
        }
    }
    Ok(conditions)
}
