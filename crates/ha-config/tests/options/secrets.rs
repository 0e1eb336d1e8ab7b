//! Secrets are read, and never shown.

use ha_config::{Config, ProblemKind, Secret, Source};

use crate::cases::CASES;

fn secret_file(name: &str) -> String {
    format!("{}/tests/options/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_file_may_hold_the_secret() {
    for (name, expected) in [("secret-a.txt", "a secret from a file"), ("secret-b.txt", "another-secret-from-a-file")] {
        let config = Config::builder().set("CLUSTER_SECRET_FILE", secret_file(name)).build().unwrap();
        assert_eq!(config.cluster.secret, Some(Secret::new(expected)));
        assert_eq!(config.source("CLUSTER_SECRET"), Source::SecretFile { option: "CLUSTER_SECRET_FILE" });
    }
    let config = Config::builder().set("HTTP_TOKEN_FILE", secret_file("token-b.txt")).build().unwrap();
    assert_eq!(config.http.token, Some(Secret::new("another-token")));
}

#[test]
fn a_secret_from_a_file_is_printed_as_that_file() {
    let file = secret_file("secret-a.txt");
    let config = Config::builder().with_variables([("CLUSTER_SECRET_FILE", &file)]).build().unwrap();
    for printed in [config.to_toml(), config.to_toml_with_secrets()] {
        assert!(printed.contains("secret_file = ") && !printed.contains("a secret from"), "{printed}");
        assert_eq!(Config::builder().with_toml("printed.toml", printed).build().as_ref(), Ok(&config));
    }
}

#[test]
fn a_file_without_a_secret_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in [("empty", &b""[..]), ("newline", b"\n"), ("two-lines", b"a\n\nb\n"), ("binary", b"\xff")] {
        std::fs::write(directory.path().join(name), bytes).unwrap();
    }
    for (name, bytes) in [("long", 5000), ("endless", 6000)] {
        std::fs::write(directory.path().join(name), "x".repeat(bytes)).unwrap();
    }
    for (name, reason) in [
        ("absent", "the file cannot be read: "),
        ("empty", "the file is empty"),
        ("newline", "the file is empty"),
        ("two-lines", "the file holds a secret in line 2 that is empty"),
        ("binary", "the file is not valid UTF-8"),
        ("long", "the file is longer than 1024 bytes"),
        ("endless", "the file is longer than 5120 bytes"),
    ] {
        let path = directory.path().join(name).display().to_string();
        let problems = Config::builder().with_variables([("CLUSTER_SECRET_FILE", &path)]).build().unwrap_err();
        let problem = problems.iter().next().unwrap();
        assert_eq!((problems.count(), problem.kind), (1, ProblemKind::File), "{name}");
        assert!(problem.names("CLUSTER_SECRET_FILE") && problem.reason.starts_with(reason), "{name}: {problem}");
    }
}

#[test]
fn two_places_for_one_secret_contradict_each_other() {
    for (secret, file) in [("CLUSTER_SECRET", "CLUSTER_SECRET_FILE"), ("HTTP_TOKEN", "HTTP_TOKEN_FILE")] {
        let builder = Config::builder().set(secret, "hunter2hunter2").with_variables([(file, "/nowhere")]);
        let problems = builder.build().unwrap_err();
        let problem = problems.iter().next().unwrap();
        assert_eq!((problems.count(), problem.kind), (1, ProblemKind::Contradiction));
        assert!(problem.names(secret) && problem.names(file));
        assert!(!problem.to_string().contains("hunter2"));
    }
}

#[test]
fn an_empty_secret_is_a_mistake() {
    for name in ["CLUSTER_SECRET", "HTTP_TOKEN"] {
        let problems = Config::builder().with_variables([(name, "")]).build().unwrap_err();
        assert!(problems.to_string().contains("is empty"), "{problems}");
    }
}

#[test]
fn nothing_shows_a_secret() {
    let config = Config::builder()
        .with_variables([("CLUSTER_SECRET", "hunter2 hunter2"), ("HTTP_TOKEN", "hunter2-hunter2")])
        .build()
        .unwrap();
    let shown = [
        format!("{config:?}"),
        format!("{:#?}", config.explain()),
        serde_json::to_string(&config.explain()).unwrap(),
        config.explain().iter().map(|row| row.value.to_string()).collect(),
        config.to_toml(),
        format!("{:?}", config.warnings()),
    ];
    for text in shown {
        assert!(!text.contains("hunter2"), "{text}");
    }
    // The comment says that there is one, and reading the text back is no error.
    assert!(config.to_toml().contains("# secret = …"));
    assert!(Config::builder().with_toml("shown.toml", config.to_toml()).build().is_ok());
}

#[test]
fn no_refused_secret_is_shown() {
    let wrong = "hunter2\u{7}";
    let builders = [
        Config::builder().set("CLUSTER_SECRET", wrong),
        Config::builder().with_variables([("HTTP_TOKEN", wrong), ("HTTP_TOKN", wrong)]),
        Config::builder().with_toml("ha.toml", "cluster.secret = ['hunter2']\nhttp.tokn = 'hunter2'"),
        Config::builder().with_toml("ha.toml", "cluster.secret = { hunter2 = 1 }"),
    ];
    for builder in builders {
        let text = builder.build().unwrap_err().to_string();
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn the_secret_options_are_known() {
    let secret: Vec<&str> = CASES.iter().filter(|case| case.option().secret).map(|case| case.name).collect();
    assert_eq!(secret, ["CLUSTER_SECRET", "HTTP_TOKEN"]);
}
