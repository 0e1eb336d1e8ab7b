//! Every decoder, for a moment; and every input that once did harm.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;

use ha_fuzz::{execute, find, run, targets};

/// Inputs of each target: some seconds for all of them in an unoptimized build.
const EXECUTIONS: u64 = 1500;

/// One test, since memory is counted for the whole process.
#[test]
fn no_input_does_harm() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("found");
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().rsplit_once('-').unwrap().0.to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let digits = text.trim().as_bytes().chunks(2);
        let input: Vec<u8> =
            digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect();
        let target = find(&name).unwrap_or_else(|| panic!("{name} is no target"));
        execute(&target, &input).unwrap_or_else(|finding| panic!("{}: {}", path.display(), finding.what));
    }
    for target in targets() {
        assert!(!target.seeds.is_empty(), "{} has nothing to begin with", target.name);
        run(&target, EXECUTIONS, 1)
            .unwrap_or_else(|finding| panic!("{}: {}; run `cargo xtask fuzz --target {0}`", target.name, finding.what));
    }
}
