//! Huge pages of a process that grows: one test, for it is about its process.

use std::time::Duration;

use ha_runtime::huge_pages::{allow_once_large, are_held_back, hold_back};
use rustix::thread::{disable_transparent_huge_pages, transparent_huge_pages_are_disabled};

#[tokio::test(start_paused = true)]
async fn they_are_held_back_until_the_process_is_large() {
    let are_off = || transparent_huge_pages_are_disabled().unwrap();
    // As it is when the program has begun anew.
    disable_transparent_huge_pages(true).unwrap();
    hold_back();
    assert!(are_off() && are_held_back());
    let waited = tokio::time::timeout(Duration::from_secs(5), allow_once_large()).await;
    assert!(waited.is_err() && are_off(), "a test is small");
    let memory = vec![1_u8; 64 * 1024 * 1024];
    allow_once_large().await;
    assert!(!are_off() && !are_held_back());
    drop(memory);
}
