//! `ha replication` against a real node.

#![allow(clippy::unwrap_used, reason = "the stage is built outside of the tests that use it")]

mod support;

use serde_json::value::RawValue;
use support::stage::Stage;

/// JSON that is not the same, or not read at all, once somebody has read it to write it again.
fn peculiar() -> Vec<String> {
    let deep = "[".repeat(200) + &"]".repeat(200);
    let big = "{\"n\": 123456789012345678901234567890, \"n\":  1.00000000000000000001}";
    // The last two characters move the cursor of some terminals.
    [big, &deep, "1e999", "\"\\ud800\"", " [1,\n  2]\t", "\"\u{7f}\u{9b}\""].map(str::to_owned).into()
}

/// The data of a page, as they stand in it.
fn data(page: &str) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Page {
        items: Vec<Item>,
    }
    #[derive(serde::Deserialize)]
    struct Item {
        data: Box<RawValue>,
    }
    let page: Page = serde_json::from_str(page).unwrap();
    page.items.into_iter().map(|item| item.data.get().to_owned()).collect()
}

#[test]
fn a_record_is_put_read_and_listed_as_it_was_written() {
    let stage = Stage::with(&[("REPLICATION_ENABLED", "true")]);
    for (number, text) in peculiar().iter().enumerate() {
        let id = number.to_string();
        stage.out(&["replication", "put", "odd", &id, text]);
        for more in [&[][..], &["--json"]] {
            let got = stage.out(&[&["replication", "get", "odd", &id], more].concat());
            assert_eq!(got, format!("{text}\n"));
        }
        let all = stage.out(&["replication", "get", "odd", &id, "--siblings"]);
        assert!(all.contains(text.trim()), "{all}");
    }
    let texts: Vec<String> = peculiar().iter().map(|text| text.trim().to_owned()).collect();
    assert_eq!(data(&stage.out(&["replication", "list", "odd", "--json"])), texts);

    let table = stage.out(&["replication", "list", "odd"]);
    let shown: Vec<&str> = table.lines().skip(1).collect();
    assert_eq!(shown.len(), texts.len(), "{table}");
    assert!(shown[1].ends_with(&format!(" {}…", "[".repeat(59))), "{table}");
    assert!(shown[2].ends_with(" 1e999") && shown[3].ends_with(" \"\\ud800\""), "{table}");
    assert!(shown[4].ends_with(" [1, 2]") && shown[5].ends_with(" \"??\""), "{table}");

    let refused = stage.ask(&["replication", "put", "odd", "0", "{\"a\": 1"]);
    assert!(refused.code == Some(2) && refused.err.starts_with("ha: the data is not JSON: "), "{refused:?}");
}

#[test]
fn a_page_says_when_more_follow() {
    let stage = Stage::with(&[("REPLICATION_ENABLED", "true"), ("REPLICATION_CONSISTENCY", "quorum")]);
    for id in ["-a", "b c", "d"] {
        assert!(stage.out(&["replication", "put", "task", "--", id, "1"]).contains(", on the disks of "));
    }
    let lines = |options: &[&str]| -> Vec<String> {
        let table = stage.out(&[&["replication", "list", "task"], options].concat());
        let cells = table.lines().skip(1).map(|line| line.split("  "));
        // Of a record its id, of a note what it says.
        cells.map(|mut cells| cells.find(|cell| *cell != "note").unwrap().trim().to_owned()).collect()
    };
    assert_eq!(lines(&[]), ["-a", "b c", "d"]);
    assert_eq!(lines(&["--limit", "3"]), ["-a", "b c", "d"]);
    assert_eq!(lines(&["--limit", "1"]), ["-a", "more follow: list them with --after=-a"]);
    assert_eq!(lines(&["--limit", "1", "--after=-a"]), ["b c", "more follow: list them with --after='b c'"]);
    assert_eq!(lines(&["--limit", "1", "--after=b c"]), ["d"]);
    assert_eq!(stage.out(&["replication", "list", "nothing"]), "ID  VERSION  DATA\n");
}

#[test]
fn what_is_in_memory_only_is_not_said_to_be_on_disks() {
    let stage = Stage::with(&[("REPLICATION_ENABLED", "true"), ("REPLICATION_CONSISTENCY", "eventual")]);
    for change in [&["replication", "put", "task", "1", "1"][..], &["replication", "delete", "task", "1"]] {
        let told = stage.out(change);
        assert!(told.ends_with(", in the memory of one node so far, on no disk yet\n"), "{told}");
    }
}
