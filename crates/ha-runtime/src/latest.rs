//! One answer for all who ask at about the same time.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// Asks what costs others something: never twice at once, and once for all who wait meanwhile. Cheap to clone.
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
    /// The answer to a question that was asked after this call began. Cancel-safe: the next one who waits asks then.
    pub(crate) async fn get(&self, ask: impl Future<Output = T>) -> T {
        let came = Instant::now();
        let mut last = self.0.lock().await;
        if let Some((_, answer)) = last.as_ref().filter(|(asked, _)| *asked > came) {
            return answer.clone();
        }
        let asked = Instant::now();
        let answer = ask.await;
        *last = Some((asked, answer.clone()));
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_share_an_answer_and_nobody_gets_one_from_before_it_came() {
        let (latest, asked) = (Latest::default(), AtomicUsize::new(0));
        let ask = || async {
            let number = asked.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(1)).await;
            number
        };
        let first = latest.get(ask());
        let others = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            futures::future::join_all((0..50).map(|_| latest.get(ask()))).await
        };
        assert_eq!(futures::join!(first, others), (0, vec![1; 50]));
        let given_up = tokio::time::timeout(Duration::from_millis(1), latest.get(ask()));
        assert!(given_up.await.is_err());
        assert_eq!((latest.get(ask()).await, latest.get(ask()).await), (3, 4));
    }
}
