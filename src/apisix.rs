//! APISIX's objects, as typed values with one canonical JSON form each.
//!
//! Only shapes, limits and names: what APISIX accepts (its `schema_def.lua` and plugin schemas). Never here: where an
//! object comes from or where it goes.

mod key;

pub use key::{Directory, Key};
