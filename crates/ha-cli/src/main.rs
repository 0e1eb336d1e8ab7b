//! The program `ha`.

fn main() {}
