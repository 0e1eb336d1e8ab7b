//! What checks a component, and what mends it.

use std::future::Future;
use std::pin::Pin;

use crate::Verdict;

pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Looks at a component once.
///
/// A closure that returns a future is a check: `|| async { Ok::<(), std::io::Error>(()) }`. A check that takes longer
/// than its timeout is dropped at its next `await`; it must not block its thread, or it cannot be stopped. Until a check
/// that was dropped has really ended, it is not begun again, and counts as failed.
pub trait Check: Send + Sync + 'static {
    /// Looks once.
    fn check(&self) -> Boxed<Verdict>;
}

impl<F, W> Check for F
where
    F: Fn() -> W + Send + Sync + 'static,
    W: Future + Send + 'static,
    W::Output: Into<Verdict>,
{
    fn check(&self) -> Boxed<Verdict> {
        let work = self();
        Box::pin(async move { work.await.into() })
    }
}

/// Tries to mend a component once.
///
/// A closure that returns a future of a `Result<(), impl Display>` is an action. The same rules hold as for a [`Check`].
pub trait Action: Send + Sync + 'static {
    /// Tries once. An error is remembered as the reason; only the next check tells whether it helped.
    fn run(&self) -> Boxed<Result<(), String>>;
}

impl<F, W, E> Action for F
where
    F: Fn() -> W + Send + Sync + 'static,
    W: Future<Output = Result<(), E>> + Send + 'static,
    E: std::fmt::Display,
{
    fn run(&self) -> Boxed<Result<(), String>> {
        let work = self();
        Box::pin(async move { work.await.map_err(|error| error.to_string()) })
    }
}
