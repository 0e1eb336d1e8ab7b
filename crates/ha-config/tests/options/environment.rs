//! The environment belongs to everybody: only what is close to an option is ours to judge.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use ha_config::Config;

#[test]
fn variables_of_others_do_no_harm() {
    let others = [
        ("HTTP_PROXY", "http://proxy:3128"),
        ("HTTPS_PROXY", "http://proxy:3128"),
        ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
        ("KUBERNETES_PORT", "tcp://10.0.0.1:443"),
        ("HA_URL", "http://127.0.0.1:8080"),
        ("HA_HTTP_TOKEN", "x"),
        ("HA_NODE_ID", "node-1"),
        ("HA_ROLE", "primary"),
        ("HA_EPOCH", "7"),
        ("HA_FENCING_TOKEN", "7"),
        ("PATH", "/bin"),
        ("cluster.port", "1"),
        ("cluster_port", "1"),
    ];
    assert_eq!(Config::builder().with_variables(others).build(), Ok(Config::default()));
}

#[test]
fn a_near_miss_is_an_error() {
    let problems = Config::builder().with_variables([("CLUSTER_SECRTE", "hunter2")]).build().unwrap_err();
    assert_eq!(
        problems.to_string(),
        "CLUSTER_SECRTE (environment variable): no option has this name; did you mean CLUSTER_SECRET?"
    );
}

#[test]
fn what_kubernetes_sets_for_a_service_is_explained() {
    let problems = Config::builder().with_variables([("CLUSTER_PORT", "tcp://10.0.0.1:7946")]).build().unwrap_err();
    assert!(problems.to_string().contains("enableServiceLinks"), "{problems}");
}

#[test]
fn text_that_is_not_unicode_is_refused_in_an_option_and_ignored_elsewhere() {
    let latin1 = || OsString::from_vec(b"caf\xe9".to_vec());
    let other = Config::builder().with_variables([(OsString::from("GREETING"), latin1()), (latin1(), latin1())]);
    assert!(other.build().is_ok());
    let ours = Config::builder().with_variables([(OsString::from("CLUSTER_NAME"), latin1())]);
    assert!(ours.build().unwrap_err().to_string().contains("CLUSTER_NAME (environment variable): is not valid UTF-8"));
}
