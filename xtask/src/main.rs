//! House commands.

fn main() {}
