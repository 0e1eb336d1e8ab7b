//! The house rules hold for every tracked file.

use xtask::local_cluster::binary::project_root;

#[test]
fn the_house_is_tidy() {
    let broken = xtask::tidy::check(&project_root()).unwrap();
    assert!(broken.is_empty(), "house rules are broken:\n{}", broken.join("\n"));
}
