//! The README's table of settings is `config::SETTINGS`. `UPDATE_README=1` writes it anew.

use std::path::Path;

use apisix_mesh::config::{SETTINGS, variable};

const BEGIN: &str = "<!-- settings -->\n";
const END: &str = "<!-- /settings -->";

fn table() -> String {
    let mut table = String::from("| setting | default | what it does |\n|---|---|---|\n");
    for setting in SETTINGS {
        let default = match setting.default {
            "" => String::new(),
            default => format!("`{default}`"),
        };
        table.push_str(&format!("| `{}` | {default} | {} |\n", setting.name, setting.doc));
    }
    let example = SETTINGS.iter().find(|s| s.name == "etcd_listen").unwrap().name;
    table
        + &format!(
            "\n`{example}` is `{}` in the environment and `--etcd-listen` as a flag.\n",
            variable(example)
        )
}

#[test]
fn the_readme_lists_every_setting() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("README.md has the opening mark");
    let (_, after) = rest.split_once(END).expect("README.md has the closing mark");
    let current = format!("{before}{BEGIN}{}{END}{after}", table());
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(&path, &current).unwrap();
    } else {
        assert!(
            text == current,
            "README.md's settings are stale; run `UPDATE_README=1 cargo test --test readme`"
        );
    }
}
