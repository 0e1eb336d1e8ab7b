//! One answer for all who ask at about the same time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// So old an answer may be, from when it came.
const AGE_MAX: Duration = Duration::from_millis(100);

/// Asks what costs others something: never twice at once, and not again while the last answer is new. Cheap to clone.
#[derive(Debug)]
pub(crate) struct Latest<T>(Arc<Mutex<Option<(Instant, T)>>>);

impl<T> Clone for Latest<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> Latest<T> {
    /// The last answer, or that to a new question. Cancel-safe: the next one who waits asks then.
    pub(crate) async fn get(&self, ask: impl Future<Output = T>) -> T {
        let mut last = self.0.lock().await;
        if let Some((_, answer)) = last.as_ref().filter(|(came, _)| came.elapsed() < AGE_MAX) {
            return answer.clone();
        }
        let answer = ask.await;
        *last = Some((Instant::now(), answer.clone()));
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn those_who_ask_at_once_share_an_answer_and_one_who_comes_later_gets_a_new_one() {
        let (latest, asked) = (Latest::default(), AtomicUsize::new(0));
        let ask = || async {
            let number = asked.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(1)).await;
            number
        };
        let all = futures::future::join_all((0..50).map(|_| latest.get(ask())));
        assert_eq!(all.await, [0; 50]);
        tokio::time::advance(AGE_MAX).await;
        let given_up = tokio::time::timeout(Duration::from_millis(1), latest.get(ask()));
        assert!(given_up.await.is_err());
        assert_eq!((latest.get(ask()).await, latest.get(ask()).await), (2, 2));
    }
}
