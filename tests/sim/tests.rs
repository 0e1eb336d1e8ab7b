//! Plays every scene with a few seeds, each run in a process of its own, and breaks the product on purpose to show that
//! the scenes notice.
//!
//! More seeds: `cargo xtask sim --scene chaos-5 --seeds 1000`.

use std::process::{Command, Output};
use std::sync::{Condvar, Mutex, PoisonError};

use ha_tests::sim::scenes;

/// Runs at once, whatever the number of test threads is.
const RUNS_AT_ONCE: usize = 2;

/// Counts the runs.
struct Gate {
    running: Mutex<usize>,
    ended: Condvar,
}

static GATE: Gate = Gate { running: Mutex::new(0), ended: Condvar::new() };

/// One run.
struct Run {
    output: Output,
    command: String,
}

impl Run {
    fn new(scene: &str, seed: u64, more: &[&str]) -> Self {
        let mut running = GATE.running.lock().unwrap_or_else(PoisonError::into_inner);
        while *running >= RUNS_AT_ONCE {
            running = GATE.ended.wait(running).unwrap_or_else(PoisonError::into_inner);
        }
        *running += 1;
        drop(running);
        let seed = seed.to_string();
        let output = Command::new(env!("CARGO_BIN_EXE_ha-sim"))
            .args(["--scene", scene, "--seed", &seed])
            .args(more)
            .output()
            .expect("the simulator was built with this test");
        *GATE.running.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        GATE.ended.notify_one();
        let more: String = more.iter().map(|word| format!(" {word}")).collect();
        Self { output, command: format!("cargo xtask sim --scene {scene} --seed {seed}{more}") }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    fn expect_success(&self) {
        if self.output.status.success() {
            return;
        }
        let errors = String::from_utf8_lossy(&self.output.stderr).into_owned();
        let panic: Vec<&str> = errors.lines().filter(|line| !line.is_empty()).take(4).collect();
        panic!("{}\n{}\n\nat commit {}, replay with:\n  {}\n", self.text(), panic.join("\n"), commit(), self.command);
    }

    /// Whether an invariant was found broken; a failure of another kind shows nothing.
    fn broke_an_invariant(&self) -> bool {
        !self.output.status.success() && self.text().contains("it must hold that")
    }
}

fn commit() -> String {
    let output = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    output.map_or_else(|_| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn play(scene: &str, seeds: std::ops::RangeInclusive<u64>) {
    for seed in seeds {
        let run = Run::new(scene, seed, &[]);
        run.expect_success();
        println!("{}", run.text().trim());
    }
}

/// Declares a test per scene, and what is played.
macro_rules! scenes {
    ($($(#[$attribute:meta])* $test:ident: $scene:literal, $seeds:expr;)*) => {
        $(#[test]
        $(#[$attribute])*
        fn $test() {
            play($scene, $seeds);
        })*

        const PLAYED: &[&str] = &[$($scene),*];
    };
}

scenes! {
    t01_leader_killed: "T01", 1..=3;
    t02_all_killed: "T02", 1..=3;
    t08_splits: "T08", 1..=6;
    t09_leader_isolated: "T09", 1..=2;
    t10_leader_deaf: "T10", 1..=2;
    t11_leader_mute: "T11", 1..=2;
    t12_bridge: "T12", 1..=2;
    t12_pair_cut: "T12-pair", 1..=2;
    t13_ring: "T13", 1..=2;
    t14_three_way_split: "T14", 1..=2;
    t20_packets_lost: "T20", 1..=1;
    t21_replay: "T21", 1..=1;
    t25_drift: "T25", 1..=2;
    t27_disk_full: "T27", 1..=2;
    t28_sync_fails: "T28", 1..=3;
    t29_leader_stalls: "T29", 1..=1;
    t30_power_lost: "T30", 1..=4;
    t30_power_lost_after_votes: "T30-votes", 1..=2;
    t31_torn_writes: "T31", 1..=3;
    t32_bits_flip: "T32", 1..=6;
    t33_log_lost: "T33-log", 1..=2;
    t33_older_copy: "T33-copy", 1..=3;
    t33_rewound: "T33-rewound", 1..=3;
    t35_empty_disk: "T35", 1..=2;
    t36_removed_node: "T36", 1..=2;
    t36_removed_leader: "T36-leader", 1..=4;
    t39_transfer_to_the_unfit: "T39", 1..=2;
    t40_transfer_to_the_ineligible: "T40", 1..=1;
    t43_members_replaced_under_fire: "T43", 1..=2;
    t44_learner_left_behind: "T44", 1..=1;
    t49_bad_seeds: "T49", 1..=2;
    t50_all_at_once: "T50", 1..=10;
    t53_garbage: "T53", 1..=2;
    t05_lock_holder_sleeps: "T05", 1..=3;
    t58_lock_storm: "T58", 1..=2;
    t60_leader_changes_at_expiry: "T60", 1..=4;
    shared_amid_deaths_and_splits: "shared", 1..=4;
    shared_amid_chaos: "shared-3", 1..=6;
    chaos_on_three: "chaos-3", 1..=6;
    chaos_on_five: "chaos-5", 1..=4;
    chaos_with_a_witness: "chaos-w", 1..=4;
    records_strong: "records-strong", 1..=4;
    records_quorum: "records-quorum", 1..=3;
    records_with_a_witness: "records-w", 1..=3;
    records_power_lost: "records-power", 1..=4;
    records_power_lost_amid_an_entry: "records-shared", 1..=3;
    records_silent: "records-silent", 1..=2;
    records_full: "records-full", 1..=2;
    records_lost: "records-lost", 1..=2;
    records_without_a_leader: "loose-5", 1..=4;
    records_and_clocks_that_are_off: "loose-clocks", 1..=3;
    roles_amid_chaos: "roles-3", 1..=4;
    roles_with_a_witness_amid_chaos: "roles-w", 1..=4;
    t03_killed_in_callbacks: "T03", 1..=3;
    t09_primary_cut_off: "T09-roles", 1..=2;
    t15_around_a_witness: "T15", 1..=2;
    t20_packets_lost_for_roles: "T20-roles", 1..=1;
    t37_rolling_restart: "T37", 1..=2;
    t39_leader_moves: "T39-roles", 1..=2;
    t41_flapping: "T41", 1..=1;
    t61_loose_master: "T61", 1..=3;
    records_whose_writers_are_cut_short: "joint-torn", 1..=1;
    t62_away_for_long: "T62", 1..=1;
    records_that_a_majority_holds_without_a_leader: "joint-5", 1..=2;
    records_that_a_majority_holds_lost_by_one: "joint-lost", 1..=1;
    t63_quorum_lost_of_three: "T63", 1..=2;
    t63_quorum_lost_of_five: "T63-5", 1..=2;
    deaths: "deaths", 1..=4;
}

#[test]
fn every_scene_is_played() {
    let all: Vec<&str> = scenes::ALL.iter().map(|scene| scene.name).collect();
    assert_eq!(all, PLAYED);
}

#[test]
fn one_seed_is_one_run() {
    for scene in ["chaos-3", "T50"] {
        let (one, other) = (Run::new(scene, 7, &["--trace"]), Run::new(scene, 7, &["--trace"]));
        one.expect_success();
        assert!(one.output.stdout == other.output.stdout, "two runs of {scene} with one seed differ: {}", one.command);
        let another = Run::new(scene, 8, &["--trace"]);
        assert!(one.output.stdout != another.output.stdout, "the seed of {scene} decides nothing");
    }
}

/// Plays a broken product, until an invariant breaks.
fn expect_noticed(mutant: &str, scenes: &[&str]) {
    expect_noticed_within(3, mutant, scenes);
}

/// As [`expect_noticed`], with more seeds of each scene where it takes luck.
fn expect_noticed_within(seeds: u64, mutant: &str, scenes: &[&str]) {
    let runs = scenes.iter().flat_map(|scene| (1..=seeds).map(move |seed| (*scene, seed)));
    for (scene, seed) in runs {
        let run = Run::new(scene, seed, &["--mutant", mutant]);
        if run.broke_an_invariant() {
            let found = run.text();
            println!("{}: {}", run.command, found.lines().last().unwrap_or_default());
            return;
        }
    }
    panic!("nobody noticed that the product is broken: {mutant}");
}

#[test]
fn a_log_without_sync_is_noticed() {
    expect_noticed("no-sync", &["deaths", "T30"]);
}

#[test]
fn a_vote_that_is_not_durable_is_noticed() {
    expect_noticed("forgotten-vote", &["T30-votes"]);
}

#[test]
fn commands_without_the_exactly_once_table_are_noticed() {
    expect_noticed("applied-twice", &["T01", "chaos-3"]);
}

#[test]
fn clocks_that_drift_beyond_all_bounds_are_noticed() {
    expect_noticed("wild-clocks", &["T25", "chaos-3"]);
}

#[test]
fn writes_that_do_not_ask_what_they_replace_are_noticed() {
    expect_noticed("no-version-read", &["joint-5"]);
}

#[test]
fn reads_that_do_not_repair_are_noticed() {
    expect_noticed_within(6, "no-read-repair", &["joint-torn"]);
}

#[test]
fn reads_that_nobody_confirmed_are_noticed() {
    expect_noticed("stale-reads", &["shared", "shared-3"]);
}
