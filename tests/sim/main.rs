//! Plays one scene with one seed.
fn main() {}
