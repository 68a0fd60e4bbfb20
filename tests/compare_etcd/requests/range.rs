//! Range in full.

use serde_json::{Map, Value, json};

use super::{any_end, any_key, any_lower, any_upper, bytes};
use crate::{compare_etcd::history::History, support::mutate::Random};

pub fn any(history: &History, random: &mut Random) -> Value {
    let key = any_key(history, random);
    let end = any_end(&key, history, random);
    let mut request = Map::new();
    let mut set = |name: &str, value: Value| request.insert(name.to_owned(), value);
    set("key", bytes(&key));
    set("range_end", bytes(&end));
    if random.below(3) == 0 {
        let limit = *random.pick(&[0, 1, 1, 2, 3, 5, 10, 20, -1, i64::MAX, i64::MIN]);
        set("limit", json!(limit));
    }
    if random.below(3) == 0 {
        set("revision", any_upper(history, random));
    }
    // An unknown target makes an etcd before 3.6 end in a panic, but not together with an unknown order.
    if random.below(3) == 0 {
        set("sort_target", json!(random.below(5)));
        set("sort_order", json!(random.below(3)));
    } else if random.below(40) == 0 {
        set("sort_order", json!(random.pick(&[-1, 3, 77])));
        set("sort_target", json!(random.pick(&[0, 1, 2, 3, 4, 5, -1])));
    }
    for name in ["max_mod_revision", "max_create_revision"] {
        if random.below(10) == 0 {
            set(name, any_upper(history, random));
        }
    }
    for name in ["min_mod_revision", "min_create_revision"] {
        if random.below(10) == 0 {
            set(name, any_lower(history, random));
        }
    }
    for name in ["keys_only", "count_only", "serializable"] {
        if random.below(6) == 0 {
            set(name, json!(random.below(4) > 0));
        }
    }
    Value::Object(request)
}
