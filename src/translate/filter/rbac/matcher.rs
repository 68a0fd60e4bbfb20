//! The matcher form of rules: the first match says which action applies.

use prost::Message;

use super::{permission, policy::Unknown, test};
use crate::{
    apisix::Condition,
    pb::{
        envoy::{
            config::{
                core::v3::CidrRange,
                rbac::v3::{Action as Chosen, rbac::Action},
                route::v3::{HeaderMatcher, header_matcher::HeaderMatchSpecifier},
            },
            extensions::matching::input_matchers::ip::v3::Ip,
            r#type::matcher::v3::{HttpRequestHeaderMatchInput, StringMatcher},
        },
        google::protobuf::Any,
        message_name,
        path::Path,
        xds::{
            core::v3::TypedExtensionConfig,
            r#type::matcher::v3::{
                Matcher,
                matcher::{
                    MatcherType, OnMatch,
                    matcher_list::{
                        FieldMatcher, Predicate,
                        predicate::{MatchType, SinglePredicate, single_predicate},
                    },
                    on_match,
                },
            },
        },
    },
    translate::{bounds::Bounds, client, network::Network, note::Notes},
};

const HEADER_INPUT: &str = "envoy.type.matcher.v3.HttpRequestHeaderMatchInput";
const INPUTS: &str = "envoy.extensions.matching.common_inputs.network.v3.";
const IP: &str = "envoy.extensions.matching.input_matchers.ip.v3.Ip";
const ACTION: &str = "envoy.config.rbac.v3.Action";

/// The request is let through. Where nothing matches, Envoy refuses.
pub(super) fn allowed(tree: &Matcher, path: &Path<'_>, notes: &mut Notes) -> Bounds {
    let unknown = Unknown::of_tree();
    let otherwise = match &tree.on_no_match {
        Some(chosen) => outcome(chosen, &unknown, &path.field("on_no_match"), notes),
        None => Bounds::constant(false),
    };
    let list = match &tree.matcher_type {
        Some(MatcherType::MatcherList(list)) => list,
        Some(MatcherType::MatcherTree(_)) => {
            return unknown.part(&path.field("matcher_tree"), "has no counterpart", notes);
        }
        None => return otherwise,
    };
    let path = path.field("matcher_list");
    let entries = list.matchers.iter().enumerate().rev();
    entries.fold(otherwise, |rest, (at, FieldMatcher { predicate, on_match })| {
        let here = path.item("matchers", at);
        let matches = match predicate {
            Some(predicate) => holds(predicate, &unknown, &here.field("predicate"), notes),
            None => unknown.part(&here, "no predicate", notes),
        };
        let chosen = match on_match {
            Some(chosen) => outcome(chosen, &unknown, &here.field("on_match"), notes),
            None => unknown.part(&here, "no action", notes),
        };
        Bounds::any([Bounds::all([matches.clone(), chosen]), Bounds::all([!matches, rest])])
    })
}

/// What a match lets through.
fn outcome(chosen: &OnMatch, unknown: &Unknown, path: &Path<'_>, notes: &mut Notes) -> Bounds {
    let action = match &chosen.on_match {
        Some(on_match::OnMatch::Action(action)) if !chosen.keep_matching => {
            decoded::<Chosen>(action.typed_config.as_ref(), ACTION)
                .and_then(|a| Action::try_from(a.action).ok())
        }
        _ => None,
    };
    match action {
        Some(Action::Allow | Action::Log) => Bounds::constant(true),
        Some(Action::Deny) => Bounds::constant(false),
        None => unknown.part(path, "no known action", notes),
    }
}

fn holds(predicate: &Predicate, unknown: &Unknown, path: &Path<'_>, notes: &mut Notes) -> Bounds {
    let mut each = |list: &[Predicate], field: &str| -> Vec<Bounds> {
        let path = path.field(field);
        list.iter()
            .enumerate()
            .map(|(at, part)| holds(part, unknown, &path.item("predicate", at), notes))
            .collect()
    };
    match &predicate.match_type {
        Some(MatchType::AndMatcher(list)) => Bounds::all(each(&list.predicate, "and_matcher")),
        Some(MatchType::OrMatcher(list)) => Bounds::any(each(&list.predicate, "or_matcher")),
        Some(MatchType::NotMatcher(inner)) => !holds(inner, unknown, &path.field("not_matcher"), notes),
        Some(MatchType::SinglePredicate(single)) => {
            let path = path.field("single_predicate");
            let input = single.input.as_ref().and_then(|i| i.typed_config.as_ref());
            let input = input.map_or("", |any| message_name(&any.type_url));
            let found = if input == HEADER_INPUT {
                header(single, unknown, &path, notes)
            } else {
                address(single, input)
            };
            found.unwrap_or_else(|| {
                unknown.part(&path, &format!("{input:?} with its matcher has no counterpart"), notes)
            })
        }
        None => unknown.part(path, "no known predicate", notes),
    }
}

/// A header against a text.
fn header(single: &SinglePredicate, unknown: &Unknown, path: &Path<'_>, notes: &mut Notes) -> Option<Bounds> {
    let input: HttpRequestHeaderMatchInput =
        decoded(single.input.as_ref()?.typed_config.as_ref(), HEADER_INPUT)?;
    let Some(single_predicate::Matcher::ValueMatch(value)) = &single.matcher else { return None };
    // One message, in two packages.
    let value = StringMatcher::decode(value.encode_to_vec().as_slice()).ok()?;
    let matcher = HeaderMatcher {
        name: input.header_name,
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(value)),
        ..HeaderMatcher::default()
    };
    Some(test::header(&matcher, unknown, &path.field("value_match"), notes))
}

/// An address against networks.
fn address(single: &SinglePredicate, input: &str) -> Option<Bounds> {
    let Some(single_predicate::Matcher::CustomMatch(TypedExtensionConfig { typed_config, .. })) =
        &single.matcher
    else {
        return None;
    };
    let ranges = decoded::<Ip>(typed_config.as_ref(), IP)?.cidr_ranges;
    let each = |within: &dyn Fn(Network) -> Condition| -> Option<Bounds> {
        Some(Bounds::any(
            Network::list(&ranges)?.into_iter().map(|n| Bounds::when(within(n))).collect::<Vec<_>>(),
        ))
    };
    match input.strip_prefix(INPUTS)? {
        "SourceIPInput" => each(&client::is_within),
        "DirectSourceIPInput" => each(&|network| network.contains(client::PEER)),
        "DestinationIPInput" => {
            let parts: Option<Vec<_>> =
                ranges.iter().map(|r: &CidrRange| permission::destination_ip(r)).collect();
            Some(Bounds::any(parts?))
        }
        _ => None,
    }
}

fn decoded<M: Message + Default>(any: Option<&Any>, name: &str) -> Option<M> {
    let any = any.filter(|any| message_name(&any.type_url) == name)?;
    M::decode(any.value.clone()).ok()
}
