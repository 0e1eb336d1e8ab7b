use super::*;
use crate::{Config, Status};

fn rules() -> Rules {
    Rules { failure_threshold: 1, ..Rules::new(&Config::default(), false) }
}

/// Answers every check with a failure, or with success.
fn answer(book: &mut Book, now: Duration, acts: Vec<Act>, works: bool) -> Vec<Transition> {
    let mut told = vec![];
    let mut acts = acts;
    while let Some(act) = acts.pop() {
        match act {
            Act::Work { component, output: Output::Check { number } } => {
                book.step(now, &component, Input::Checked { number, verdict: works.into() }, &mut acts);
            }
            Act::Work { .. } => {}
            Act::Tell(transition) => told.push(transition),
        }
    }
    told
}

#[test]
fn components_are_looked_at_when_they_are_due() {
    let mut book = Book::default();
    book.add(Duration::ZERO, "a", rules());
    book.add(Duration::from_secs(1), "b", rules());
    assert_eq!(book.deadline(), Some(Duration::ZERO));
    let mut acts = vec![];
    book.look(Duration::ZERO, &mut acts);
    assert_eq!(acts, [Act::Work { component: "a".to_owned(), output: Output::Check { number: 1 } }]);
    let told = answer(&mut book, Duration::ZERO, acts, true);
    assert_eq!((told[0].component.as_str(), told[0].to, told[0].number), ("a", Status::Healthy, 1));
    assert_eq!(book.deadline(), Some(Duration::from_secs(1)));
    assert!(book.remove("b") && !book.remove("b"));
    assert_eq!(book.deadline(), Some(Duration::from_secs(30)));
}

#[test]
fn a_late_answer_for_a_component_that_was_replaced_is_passed_over() {
    let mut book = Book::default();
    book.add(Duration::ZERO, "a", rules());
    book.look(Duration::ZERO, &mut vec![]);
    book.add(Duration::ZERO, "a", rules());
    let mut acts = vec![];
    book.step(Duration::ZERO, "a", Input::Checked { number: 1, verdict: false.into() }, &mut acts);
    let check = Act::Work { component: "a".to_owned(), output: Output::Check { number: 2 } };
    assert_eq!(acts, [check]);
    assert_eq!(book.health(Duration::ZERO)[0].status, Status::Degraded);
}

#[test]
fn history_keeps_the_last_ones() {
    let mut book = Book::default();
    book.add(Duration::ZERO, "a", rules());
    let mut now = Duration::ZERO;
    for turn in 0..HISTORY_MAX + 10 {
        let mut acts = vec![];
        book.look(now, &mut acts);
        assert_eq!(answer(&mut book, now, acts, turn % 2 == 0).len(), 1);
        now += Duration::from_secs(30);
    }
    let history = book.history();
    assert_eq!((history.len(), history[0].number), (HISTORY_MAX, 11));
}
