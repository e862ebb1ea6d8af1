//! Sets and removes the fields of an apply in an object. Also the simpler merge patch.
//!
//! Lists with keys keep the order that the API server gives them (structured-merge-diff, `merge.go`).

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::fields::{Path, Shape, is_empty, shape, step};

/// Merges an applied configuration into an object.
pub(super) fn merge(path: &mut Path, live: &mut Value, applied: &Value) {
    match (&mut *live, applied, shape(path, applied)) {
        (Value::Object(live), Value::Object(applied), Shape::Granular) => {
            for (name, value) in applied {
                path.push(format!("f:{name}"));
                match live.get_mut(name) {
                    Some(live) => merge(path, live, value),
                    None => {
                        live.insert(name.clone(), value.clone());
                    }
                }
                path.pop();
            }
        }
        (Value::Array(live), Value::Array(applied), shape @ (Shape::Keyed(_) | Shape::Set)) => {
            *live = merge_list(path, live, applied, &shape);
        }
        _ => *live = applied.clone(),
    }
}

/// The items of both lists: in the order of the applied one, with the others at their position in between.
fn merge_list(path: &mut Path, live: &[Value], applied: &[Value], shape: &Shape) -> Vec<Value> {
    let live: Vec<_> = live.iter().map(|item| (step(shape, item), item)).collect();
    let applied: Vec<_> = applied.iter().map(|item| (step(shape, item), item)).collect();
    let find = |items: &[(String, &Value)], key: &str| {
        items.iter().find(|(other, _)| other == key).map(|(_, item)| (*item).clone())
    };
    let mut shared = applied.iter().map(|(key, _)| key).filter(|key| find(&live, key).is_some()).peekable();
    let mut merged: BTreeSet<&String> = BTreeSet::new();
    let mut out = Vec::with_capacity(live.len() + applied.len());
    let (mut left, mut right) = (live.iter().peekable(), applied.iter().peekable());
    while left.peek().is_some() || right.peek().is_some() {
        if let Some((key, item)) = left.peek() {
            let is_applied = find(&applied, key).is_some();
            let same = right.peek().is_some_and(|(other, _)| other == key);
            let not_yet = is_applied && right.peek().is_some() && shared.peek().is_some_and(|next| *next != key);
            if !same && not_yet {
                left.next();
                continue;
            }
            if !same && !is_applied {
                out.push((*item).clone());
                left.next();
                continue;
            }
            if same || merged.contains(key) {
                left.next();
            }
        }
        if let Some((key, item)) = right.next() {
            let mut value = find(&live, key);
            match &mut value {
                Some(value) => {
                    path.push(key.clone());
                    merge(path, value, item);
                    path.pop();
                }
                None => value = Some((*item).clone()),
            }
            out.extend(value);
            merged.insert(key);
            shared.next_if(|next| *next == key);
        }
    }
    out
}

/// Removes a field, and its parents that become empty.
pub(super) fn remove(object: &mut Value, path: &Path) {
    take(object, &mut Path::new(), path);
}

fn take(value: &mut Value, above: &mut Path, path: &[String]) {
    let Some((next, rest)) = path.split_first() else { return };
    let shape = shape(above, value);
    above.push(next.clone());
    let ends = |child: &mut Value, above: &mut Path| {
        take(child, above, rest);
        rest.is_empty() || is_empty(child)
    };
    match value {
        Value::Object(fields) => {
            let name = next.strip_prefix("f:").unwrap_or(next);
            if fields.get_mut(name).is_some_and(|child| ends(child, above)) {
                fields.remove(name);
            }
        }
        Value::Array(items) => {
            let at = items.iter().position(|item| step(&shape, item) == *next);
            if let Some(at) = at
                && ends(&mut items[at], above)
            {
                items.remove(at);
            }
        }
        _ => {}
    }
    above.pop();
}

/// A JSON merge patch (RFC 7386).
pub(super) fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Value::Object(target) = target {
        for (name, value) in patch {
            if value.is_null() {
                target.remove(name);
            } else {
                merge_patch(target.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
    }
}

/// Removes fields with the value `null`.
pub(super) fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}
