//! Answers what other copies ask.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use ha_cluster::disk::perform;
use ha_cluster::{Answer, MemberRole, NodeId, encoding};

use crate::loose::LooseCopy;
use crate::message::{Ask, Found, Told};
use crate::remote::Remote;
use crate::replication::{Inner, Replication};
use crate::{ReadError, Record, fetch};

/// How long a push waits for the disk: less than the one who pushes waits.
const PUSH_PATIENCE: Duration = Duration::from_secs(4);

/// Answers for this node, as long as it serves.
pub(crate) fn server(inner: Weak<Inner>) -> impl Fn(NodeId, Bytes) -> Answer + Send + Sync + 'static {
    move |from, body| {
        let inner = inner.clone();
        Box::pin(async move {
            let inner = inner.upgrade().ok_or("this node is stopping")?;
            let ask = encoding::decode::<Ask>(&body).map_err(|error| error.to_string())?;
            let told = answer(inner, &from, ask).await?;
            encoding::encode(&told).map(Into::into).map_err(|error| error.to_string())
        })
    }
}

async fn answer(inner: Arc<Inner>, from: &NodeId, ask: Ask) -> Result<Told, String> {
    Ok(match ask {
        Ask::Held { index, level } => Told::Held(inner.gate.here(level, index).await),
        Ask::Report => {
            let mut report = inner.copy.report();
            if let Some(loose) = &inner.loose {
                let view = inner.cluster.watch().borrow().clone();
                let others = view.members.iter().filter(|member| member.role != MemberRole::Witness);
                let others = others.map(|member| member.node_id.clone()).filter(|node| *node != view.node_id);
                loose.tell_report(&mut report, others.collect());
            }
            Told::Report(report)
        }
        Ask::Changes { after, upto, anew, limit, bytes_max } => {
            let copy = inner.copy.clone();
            let page = async move { fetch::page(&copy, after, upto, anew, limit, bytes_max) };
            Told::Changes(perform(&inner.disk, "fetch", page).await.map_err(|error| error.to_string())?)
        }
        Ask::Status => {
            let status = Remote::status_here(&inner).await;
            Told::Status(serde_json::to_vec(&status).map_err(|error| error.to_string())?)
        }
        Ask::Push { changes, epoch, left } => {
            let loose = loose(&inner)?;
            // So that whoever pushes is not faster than this disk.
            if tokio::time::timeout(PUSH_PATIENCE, inner.copy.until_room()).await.is_err() {
                return Err("its disk does not keep up".to_owned());
            }
            loose.is_of(epoch)?;
            let count = changes.len() as u64;
            let merged = loose.merge(changes);
            // What was turned away is lacking too.
            loose.told_left(epoch, if merged.is_ok() { left } else { left + count });
            Told::Done(merged)
        }
        Ask::Take { change } => {
            let taken = Replication::shared(inner).take(change).await;
            Told::Taken(taken.map_err(Into::into))
        }
        Ask::Groups { stamp, epoch } => crate::loose::groups(loose(&inner)?, from, stamp, epoch).await?,
        Ask::Peek { .. } | Ask::Keep { .. } | Ask::PeekPage { .. } => {
            crate::quorum::served(loose(&inner)?, ask).await?
        }
        Ask::Buckets { groups } => Told::Sums(crate::loose::buckets(loose(&inner)?, groups)),
        Ask::Slots { buckets } => Told::Slots(crate::loose::slots(loose(&inner)?, buckets)?),
        Ask::Wanted { bucket, names } => Told::Wanted(crate::loose::wanted(loose(&inner)?, bucket, &names)?),
        Ask::Get { key, level } => {
            let here = complete(inner)?.with_consistency(level);
            Told::Records(told(here.get_here(&key).await))
        }
        Ask::List { data_type, after, limit, level } => {
            let here = complete(inner)?.with_consistency(level);
            let after = after.as_ref().map(crate::Key::data_id);
            Told::Records(told(here.list_here(&data_type, after, limit as usize).await))
        }
        Ask::Imported { source } => {
            let imported = complete(inner)?.imported_here(&source).await;
            Told::Imported(imported.map_err(|error| error.to_string()))
        }
    })
}

fn loose(inner: &Inner) -> Result<&LooseCopy, String> {
    inner
        .loose
        .as_ref()
        .ok_or_else(|| "this node lets a leader order what is written: give all nodes the same options".to_owned())
}

/// A copy that does not pass the question on.
fn complete(inner: Arc<Inner>) -> Result<Replication, String> {
    if inner.copy.is_complete() { Ok(Replication::shared(inner)) } else { Err(lacking()) }
}

fn lacking() -> String {
    "this copy is not complete either".to_owned()
}

/// What was found here, unless something is lacking here.
fn told<T: IntoIterator<Item = Record>>(found: Result<Option<T>, ReadError>) -> Result<Vec<Found>, String> {
    let found = found.map_err(|error| error.to_string())?.ok_or_else(lacking)?;
    let told = |Record { key, version, data, siblings }| Found { key, version, data, siblings };
    Ok(found.into_iter().map(told).collect())
}
