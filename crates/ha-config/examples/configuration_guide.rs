//! Prints `docs/guide/configuration.md`.

fn main() {
    print!("{}", ha_config::docs::markdown());
}
