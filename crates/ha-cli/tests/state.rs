//! `ha state` and `ha lock` against a real node.

#![allow(clippy::unwrap_used, reason = "the stage is built outside of the tests that use it")]

mod support;

use rustix::process::Signal;
use serde_json::Value;
use support::fake::{Answer, Fake};
use support::stage::Stage;
use support::{PATIENCE, Running};

#[test]
fn keys_are_put_read_listed_and_removed() {
    let stage = Stage::new();
    assert!(stage.out(&["state", "put", "a/x y", "{\"n\": 1}"]).starts_with("revision "));
    stage.out(&["state", "put", "a/z", "plain text"]);
    assert_eq!(stage.out(&["state", "get", "a/z"]), "plain text\n");
    assert_eq!(stage.out(&["state", "get", "a/x y", "--stale"]), "{\"n\": 1}\n");
    let shown: Value = serde_json::from_str(&stage.out(&["state", "get", "a/z", "--json"])).unwrap();
    let revision = shown["revision"].to_string();
    let list = stage.out(&["state", "list", "a/"]);
    assert_eq!(list.lines().count(), 3, "{list}");
    assert!(
        list.lines().nth(1).is_some_and(|line| line.starts_with("a/x y") && line.ends_with("{\"n\": 1}")),
        "{list}"
    );
    let failed = stage.ask(&["state", "put", "a/z", "1", "--if-revision", "1"]);
    assert_eq!(failed.code, Some(1));
    assert!(failed.err.contains(&format!("last changed at revision {revision}")), "{}", failed.err);
    stage.out(&["state", "put", "a/z", "1", "--if-revision", &revision]);
    assert!(stage.out(&["state", "delete", "a/z"]).starts_with("deleted at revision "));
    assert_eq!(stage.out(&["state", "delete", "a/z"]), "there was no such key\n");
    let missing = stage.ask(&["state", "get", "a/z"]);
    assert_eq!((missing.code, missing.err.as_str()), (Some(1), "ha: there is no key a/z\n"));
    assert_eq!(stage.out(&["state", "list", "b"]), "no keys\n");
}

/// JSON that is not the same, or not read at all, once somebody has read it to write it again.
fn peculiar() -> Vec<String> {
    let deep = "[".repeat(200) + &"]".repeat(200);
    let big = "{\"n\": 123456789012345678901234567890, \"n\":  1.10}";
    [big, &deep, "1e999", "\"\\ud800\"", "[1,\n  2]", "null"].map(str::to_owned).into()
}

#[test]
fn values_are_put_read_and_listed_as_they_were_written() {
    let stage = Stage::new();
    for (number, text) in peculiar().iter().enumerate() {
        let key = format!("odd/{number}");
        stage.out(&["state", "put", &key, text, "--if-revision", "0", "--ttl", "3600"]);
        assert_eq!(stage.out(&["state", "get", &key]), format!("{text}\n"));
        let whole = stage.out(&["state", "get", &key, "--json"]);
        assert!(whole.starts_with(&format!("{{\"key\":\"{key}\",\"value\":{text},\"revision\":")), "{whole}");
    }
    let listed = stage.out(&["state", "list", "odd/", "--json"]);
    for text in peculiar() {
        assert!(listed.contains(&format!(",\"value\":{text},")), "{text} is missing in {listed}");
    }
    let table = stage.out(&["state", "list", "odd/"]);
    let ends =
        ["{\"n\": 123456789012345678901234567890, \"n\":  1.10}", "[[[…", " 1e999", " \"\\ud800\"", " [1, 2]", " null"];
    assert_eq!(table.lines().count(), 1 + ends.len(), "{table}");
    for (line, end) in table.lines().skip(1).zip(ends) {
        assert!(line.ends_with(end), "{line}");
    }
}

#[test]
fn what_a_program_has_put_is_read_as_it_was_put() {
    let stage = Stage::new();
    stage.runtime.block_on(async {
        stage.ha.state().put("text", "no \"JSON\"").await.unwrap();
        stage.ha.state().put("bytes", vec![0xff, 0x00, 0xfe, 0x01]).await.unwrap();
    });
    assert_eq!(stage.out(&["state", "get", "text"]), "no \"JSON\"\n");
    assert_eq!(stage.command(&["state", "get", "bytes"]).output().unwrap().stdout, b"\xff\x00\xfe\x01\n");
    let table = stage.out(&["state", "list", "text"]);
    assert!(table.ends_with("  no \"JSON\"\n"), "{table}");
}

#[test]
fn a_list_has_the_revision_of_its_first_page() {
    let page = |keys: &[&str], more: bool, revision: u64| {
        let item = |key| format!(r#"{{"key":"{key}","value":1.10,"revision":3}}"#);
        let items: Vec<String> = keys.iter().map(item).collect();
        format!(r#"{{"items":[{}],"more":{more},"revision":{revision}}}"#, items.join(","))
    };
    let fake = || {
        let pages = [page(&["a", "b/é"], true, 7), page(&["c"], true, 9), page(&["d"], false, 11)];
        Fake::new(pages.iter().map(|page| Answer::new(200, page)).collect())
    };
    let asked = fake();
    let all = support::end(asked.command(&["state", "list", "--json"]));
    assert_eq!(all.out, page(&["a", "b/é", "c", "d"], false, 7) + "\n", "{all:?}");
    assert_eq!(
        asked.asked()[1..],
        ["&after=b%2F%C3%A9", "&after=c"].map(|after| format!("GET /v1/state?prefix=&limit=500{after}"))
    );
    let some = support::end(fake().command(&["state", "list", "--json", "--limit", "3"]));
    assert_eq!(some.out, page(&["a", "b/é", "c"], true, 7) + "\n", "{some:?}");
    let first = support::end(fake().command(&["state", "list", "--json", "--limit", "2"]));
    assert_eq!(first.out, page(&["a", "b/é"], true, 7) + "\n", "{first:?}");
}

#[test]
fn changes_are_followed_from_a_revision() {
    let stage = Stage::new();
    let put: Value = serde_json::from_str(&stage.out(&["state", "put", "w", "1", "--json"])).unwrap();
    stage.out(&["state", "delete", "w"]);
    let from = put["revision"].to_string();
    let mut follow = stage.command(&["state", "watch", "w", "--from-revision", &from]);
    let mut child = follow.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let lines: Vec<String> = lines.take(2).map(Result::unwrap).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(lines[0], format!("w  {from}  1"));
    assert!(lines[1].ends_with("removed"), "{lines:?}");
}

#[test]
fn a_command_runs_under_a_lock_and_its_end_gives_it_back() {
    let stage = Stage::new();
    let script = "echo $HA_LOCK $HA_FENCING_TOKEN $HA_LOCK_ID; exit 7";
    let ended = stage.ask(&["lock", "jobs/1", "--", "sh", "-c", script]);
    let words: Vec<&str> = ended.out.split_whitespace().collect();
    assert_eq!((ended.code, words[0]), (Some(7), "jobs/1"), "{ended:?}");
    assert!(words[2].starts_with(&format!("{}-", words[1])));
    assert_eq!(stage.ha.state().usage().locks, 0);
    let absent = stage.ask(&["lock", "l", "--", "/no/such/program"]);
    assert!(absent.code == Some(127) && absent.err.contains("cannot run /no/such/program"), "{absent:?}");
    assert_eq!(stage.ha.state().usage().locks, 0);
    assert_eq!(stage.ask(&["lock", "l"]).code, Some(2));
}

#[test]
fn a_lock_that_is_taken_is_waited_for_and_then_given_up() {
    let stage = Stage::new();
    let state = stage.ha.state().clone();
    let guard = stage.runtime.block_on(async { state.lock("l").acquire().await.unwrap() });
    let taken = stage.ask(&["lock", "l", "--timeout", "0.2", "--", "true"]);
    assert_eq!((taken.code, taken.err.as_str()), (Some(1), "ha: somebody else holds the lock\n"));
    let waiting = Running::start(stage.command(&["lock", "l", "--timeout", "30", "--", "true"]));
    stage.runtime.block_on(async {
        while state.usage().leases < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        guard.release().await.unwrap();
    });
    assert_eq!(waiting.end().code, Some(0));
}

#[test]
fn whoever_waited_longer_than_a_lease_has_a_whole_one_to_begin_with() {
    let stage = Stage::new();
    let state = stage.ha.state().clone();
    let guard = stage.runtime.block_on(async { state.lock("l").acquire().await.unwrap() });
    let waiting = Running::start(stage.command(&["lock", "l", "--ttl", "0.6", "--timeout", "30", "--", "sleep", "1"]));
    stage.runtime.block_on(async {
        while state.usage().leases < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        // The wait itself is what is tried.
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        guard.release().await.unwrap();
    });
    let ended = waiting.end();
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
}

#[test]
fn a_command_is_stopped_when_its_lock_is_lost() {
    let stage = Stage::new();
    let marker = stage.folder.path().join("started");
    // A grandchild, which a signal to the child alone would leave behind.
    let script = format!("sleep 1000 & touch {}; wait", marker.display());
    let running = Running::start(stage.command(&["lock", "l", "--ttl", "1.5", "--", "sh", "-c", &script]));
    stage.runtime.block_on(async {
        while !marker.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        stage.ha.stop().await;
        stage.server.stop().await;
    });
    let ended = running.end();
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("the lock l was lost"), "{}", ended.err);
}

#[test]
fn the_longest_value_is_watched_and_listed_however_it_is_told() {
    let item = format!(r#"{{"key":"k","value":"{}","revision":7,"version":1}}"#, "\\u0001".repeat(1024 * 1024));
    let fake = Fake::new(vec![Answer::new(200, &format!("event: put\ndata: {item}\n\n"))]);
    let ended = support::end(fake.command(&["state", "watch", "k", "--json"]));
    assert!(ended.out == format!("{item}\n") && ended.err.contains("has ended the stream"), "{}", ended.err);
    let page = format!(r#"{{"items":[{}],"more":false,"revision":7}}"#, vec![item; 5].join(","));
    let fake = Fake::new(vec![Answer::new(200, &page)]);
    let ended = support::end(fake.command(&["state", "list", "--json"]));
    assert!(ended.code == Some(0) && ended.out.len() >= page.len(), "{}", ended.err);
}

#[test]
fn a_command_does_not_outlive_its_killed_holder() {
    let stage = Stage::new();
    let marker = stage.folder.path().join("pid");
    let script = format!("echo $$ > {0}.draft; mv {0}.draft {0}; sleep 1000", marker.display());
    let running = Running::start(stage.command(&["lock", "l", "--ttl", "2", "--", "sh", "-c", &script]));
    stage.runtime.block_on(async {
        while !marker.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    });
    let pid = std::fs::read_to_string(&marker).unwrap();
    running.signal(Signal::KILL);
    let next = stage.runtime.block_on(async {
        let state = stage.ha.state();
        state.lock("l").timeout(PATIENCE).acquire().await.unwrap()
    });
    assert!(!std::path::Path::new(&format!("/proc/{}", pid.trim())).exists(), "it is gone before the lock is free");
    stage.runtime.block_on(async { next.release().await.unwrap() });
}

#[test]
fn a_signal_is_passed_on_to_the_command() {
    let stage = Stage::new();
    let marker = stage.folder.path().join("started");
    let script = format!("trap 'exit 9' TERM; touch {}; while :; do sleep 0.05; done", marker.display());
    let running = Running::start(stage.command(&["lock", "l", "--", "sh", "-c", &script]));
    stage.runtime.block_on(async {
        while !marker.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    });
    running.signal(Signal::TERM);
    assert_eq!(running.end().code, Some(9));
    assert_eq!(stage.ha.state().usage().locks, 0);
}

#[test]
fn the_whole_state_is_saved_and_brought_back() {
    let (old, new) = (Stage::new(), Stage::new());
    let file = old.folder.path().join("saved");
    let file = file.to_str().unwrap();
    let put: Value = serde_json::from_str(&old.out(&["state", "put", "k", "\"old\"", "--json"])).unwrap();
    let guard = old.runtime.block_on(async { old.ha.state().lock("l").acquire().await.unwrap() });
    assert!(old.out(&["snapshot", "save", file]).contains(" bytes of cluster "));
    let again = old.ask(&["snapshot", "save", file]);
    assert!(again.code == Some(1) && again.err.contains("exists already"), "{again:?}");

    let foreign = new.ask(&["snapshot", "restore", file]);
    assert!(foreign.code == Some(1) && foreign.err.contains("foreign"), "{foreign:?}");
    new.out(&["state", "put", "k", "\"new\""]);
    let full = new.ask(&["snapshot", "restore", file, "--foreign"]);
    assert!(full.code == Some(1) && full.err.contains("1 keys"), "{full:?}");
    assert_eq!(new.out(&["state", "get", "k"]), "new\n");
    new.out(&["snapshot", "restore", file, "--foreign", "--overwrite"]);
    assert_eq!(new.out(&["state", "get", "k"]), "old\n");
    let later: Value = serde_json::from_str(&new.out(&["state", "put", "k", "1", "--json"])).unwrap();
    assert!(later["revision"].as_u64() > put["revision"].as_u64().map(|revision| revision + (1 << 36)));
    let next = new.runtime.block_on(async {
        // The holder is not there to renew it: its lock ends as that of any other that is gone.
        new.ha.state().release_lock("l", guard.lock_id()).await.unwrap();
        new.ha.state().lock("l").acquire().await.unwrap()
    });
    assert!(next.fencing_token() > guard.fencing_token());

    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file, bytes).unwrap();
    let damaged = new.ask(&["snapshot", "restore", file, "--foreign", "--overwrite"]);
    assert!(damaged.code == Some(1) && damaged.err.contains("checksum"), "{damaged:?}");
    assert_eq!(new.out(&["state", "get", "k"]), "1\n");
    old.runtime.block_on(async { drop(guard) });
}
