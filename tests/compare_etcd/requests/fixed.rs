//! Calls about the server itself.

use serde_json::{Value, json};

use crate::{
    compare_etcd::ask::{AUTHENTICATE, MEMBER_LIST, Method, STATUS},
    support::mutate::Random,
};

pub fn any(random: &mut Random) -> (&'static Method, Value) {
    match random.below(3) {
        0 => (&MEMBER_LIST, json!({"linearizable": random.below(2) == 0})),
        1 => (&STATUS, json!({})),
        _ => (&AUTHENTICATE, json!({"name": "root", "password": "x"})),
    }
}
