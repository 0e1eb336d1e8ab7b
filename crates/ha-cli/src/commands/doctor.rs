//! `ha doctor`: what is wrong, why, and what mends it.

use serde_json::Value;

use crate::answers::{Diagnosis, Finding, Topic};
use crate::client::{Client, ClientArgs};
use crate::failure::Failure;
use crate::output::{print, print_json};
use crate::table::{BAD, Cell, DOUBTFUL, GOOD, PLAIN, QUIET, STRONG, list};

/// Asks and shows; fails when there is trouble.
pub(crate) async fn run(args: ClientArgs) -> Result<(), Failure> {
    let answer = Client::new(&args).get("/v1/doctor").await?;
    let diagnosis: Diagnosis = answer.success()?;
    if args.json {
        print_json(&answer.read::<Value>()?)?;
    } else {
        print(&show(&diagnosis))?;
    }
    if diagnosis.well { Ok(()) } else { Err(Failure::failed(format_args!("{} sees trouble", args.url))) }
}

fn show(diagnosis: &Diagnosis) -> String {
    let topics: Vec<String> = diagnosis.topics.iter().map(topic).collect();
    topics.join("\n")
}

fn topic(topic: &Topic) -> String {
    let worst = topic.findings.iter().map(|finding| finding.severity.as_str()).find(|severity| *severity != "note");
    let verdict = match worst {
        Some("trouble") => Cell::new("no", BAD),
        Some(_) => Cell::new("with reserve", DOUBTFUL),
        None if topic.findings.is_empty() => Cell::new("yes", GOOD),
        None => Cell::new("see below", PLAIN),
    };
    let mut text = list(&[(&topic.question, verdict)]);
    text.extend(topic.findings.iter().map(finding));
    text
}

fn finding(finding: &Finding) -> String {
    let style = match finding.severity.as_str() {
        "trouble" => BAD,
        "warning" => DOUBTFUL,
        _ => QUIET,
    };
    list(&[
        (&format!("  {}", finding.severity), Cell::new(&finding.what, style)),
        ("    cause", Cell::new(&finding.cause, PLAIN)),
        ("    remedy", Cell::new(&finding.remedy, STRONG)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_question_has_its_answer_and_each_trouble_its_remedy() {
        let document = r#"{"well": false, "topics": [
            {"name": "joining", "question": "Do nodes join?", "findings": [
                {"severity": "trouble", "what": "node-3 has failed", "cause": "nothing is heard", "remedy": "start it"}]},
            {"name": "node", "question": "Is this node itself well?", "findings": []},
            {"name": "failover", "question": "Would failover trigger?", "findings": [
                {"severity": "note", "what": "no service moves", "cause": "it is off", "remedy": "turn it on"}]}
        ]}"#;
        let diagnosis: Diagnosis = serde_json::from_str(document).unwrap();
        let text = anstream::adapter::strip_str(&show(&diagnosis)).to_string();
        let expected = "\
Do nodes join?  no
  trouble   node-3 has failed
    cause   nothing is heard
    remedy  start it

Is this node itself well?  yes

Would failover trigger?  see below
  note      no service moves
    cause   it is off
    remedy  turn it on
";
        assert_eq!(text, expected);
    }
}
