//! A list that is read while events go on: a task of its own, so that none waits for the other.

use std::{future, sync::Arc};

use etcd_client::KeyValue;
use tokio::sync::mpsc;

use super::{
    connection::Connection,
    errors::{Failure, Kind},
    followed::Listing,
    pages::{Head, Pages, head},
};

pub struct Audit {
    pub listing: Listing,
    parts: mpsc::Receiver<Result<Part, Failure>>,
}

/// What a list tells, in this order.
pub enum Part {
    Head(Box<Head>),
    Page(Vec<KeyValue>),
    End,
}

impl Audit {
    /// Begins to list what is under a prefix, in pages of this size. It ends when it is dropped.
    pub fn start(
        connection: Arc<Connection>,
        (prefix, page): (String, i64),
        listing: Listing,
    ) -> Self {
        // One page waits while the next is read.
        let (to, parts) = mpsc::channel(1);
        tokio::spawn(async move {
            let list = list(&connection, &prefix, page, &to).await;
            let last = list.map(|()| Part::End);
            // Nobody waits for it: the watch has ended.
            let _ = to.send(last).await;
        });
        Self { listing, parts }
    }

    /// What comes next; never anything if there is none.
    pub async fn next(audit: &mut Option<Self>) -> Result<Part, Failure> {
        let Some(audit) = audit else { return future::pending().await };
        match audit.parts.recv().await {
            Some(Ok(Part::Head(head))) => {
                audit.listing.at(head.revision);
                Ok(Part::Head(head))
            }
            Some(part) => part,
            None => Err(Failure::new(Kind::Other, "the list ended early")),
        }
    }
}

async fn list(
    connection: &Connection,
    prefix: &str,
    page: i64,
    to: &mpsc::Sender<Result<Part, Failure>>,
) -> Result<(), Failure> {
    let gone = |_| Failure::new(Kind::Other, "nobody waits for the list");
    let head = head(connection).await?;
    let mut pages = Pages::new(prefix, head.revision, page);
    to.send(Ok(Part::Head(Box::new(head)))).await.map_err(gone)?;
    while let Some(page) = pages.next(connection).await? {
        to.send(Ok(Part::Page(page))).await.map_err(gone)?;
    }
    Ok(())
}
