//! The guide is what the table says.

use ha_config::{Config, OPTIONS, docs};

#[test]
fn the_guide_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guide/configuration.md");
    let text = std::fs::read_to_string(path).unwrap();
    assert!(
        text == docs::markdown(),
        "docs/guide/configuration.md differs from the table of options; run\n\
         cargo run -p ha-config --example configuration_guide > docs/guide/configuration.md"
    );
}

#[test]
fn the_guide_names_every_option() {
    let guide = docs::markdown();
    for option in OPTIONS {
        assert!(guide.contains(&format!("| `{}` | `{}` |", option.name, option.key)), "{}", option.name);
    }
}

#[test]
fn the_guides_file_works() {
    let guide = docs::markdown();
    let file = guide.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let config = Config::builder().with_toml("ha.toml", file).build().unwrap();
    assert_eq!(config.cluster.seed_nodes.len(), 3);
}

#[test]
fn the_guides_mistake_is_the_one_it_shows() {
    let guide = docs::markdown();
    let shown = guide.split("ha config check ha.toml\n").nth(1).unwrap().lines().nth(1).unwrap();
    let problems = Config::builder().with_toml("ha.toml", "\n[cluster]\nhartbeat_interval = 1").build().unwrap_err();
    assert!(shown.ends_with(&problems.to_string()), "{shown}\n{problems}");
}
