//! A range of keys, read in pages at one revision: all of it is larger than a message may be.

use etcd_client::{Client, GetOptions, KeyValue, ResponseHeader, Txn, TxnOp, TxnOpResponse};

use super::{
    connection::{Connection, PATIENCE},
    errors::Failure,
};

/// So many keys at once: 1.5 MB of records.
pub const PAGE: i64 = 5_000;
/// Of more keys than fit into so many pages these are larger. For each page the server counts all the keys behind it,
/// which takes longer than to send them once there are hundreds of pages.
const PAGES: i64 = 20;
/// But no larger than this: 6 MB of records.
const LARGEST: i64 = 20_000;
/// The crate's limit of 4 MiB is less than what a server may send at once.
pub const LARGEST_MESSAGE: usize = 256 << 20;

/// The pages of all keys that begin with a prefix.
pub struct Pages {
    /// The first key that was not read.
    from: Vec<u8>,
    end: Vec<u8>,
    /// 0: the latest, until the first page tells which that is.
    revision: i64,
    page: i64,
    keys_only: bool,
    done: bool,
}

impl Pages {
    /// `prefix` ends with a slash.
    pub fn new(prefix: &str, revision: i64, page: i64) -> Self {
        let from = prefix.as_bytes().to_vec();
        Self { end: end(prefix), from, revision, page, keys_only: false, done: false }
    }

    /// Without the values.
    pub fn keys_only(self) -> Self {
        Self { keys_only: true, ..self }
    }

    /// The next page; `None` behind the last.
    pub async fn next(
        &mut self,
        connection: &Connection,
    ) -> Result<Option<Vec<KeyValue>>, Failure> {
        if self.done {
            return Ok(None);
        }
        let mut options = GetOptions::new()
            .with_range(self.end.clone())
            .with_limit(self.page)
            .with_revision(self.revision);
        if self.keys_only {
            options = options.with_keys_only();
        }
        let get = |client: Client| {
            let (from, options) = (self.from.clone(), options.clone());
            let mut client = client.kv_client().max_decoding_message_size(LARGEST_MESSAGE);
            async move { client.get(from, Some(options)).await }
        };
        let mut page = connection.try_ask(PATIENCE, get).await?;
        if self.revision == 0 {
            self.revision = page.header().map_or(0, ResponseHeader::revision);
        }
        self.page = self.page.max(page.count() / PAGES).min(LARGEST);
        self.done = !page.more();
        let page = page.take_kvs();
        if let Some(last) = page.last() {
            self.from = last.key().to_vec();
            self.from.push(0);
        }
        Ok(Some(page))
    }
}

/// The first key behind all that begin with `prefix`, which ends with a slash.
fn end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    // No more than ASCII is in a prefix: this cannot overflow.
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

/// What stands beside the members, and where the store is.
#[derive(Debug)]
pub struct Head {
    pub store: Store,
    pub revision: i64,
    pub fleet: Option<KeyValue>,
    pub confirmed: Option<KeyValue>,
}

/// By which a store is known. One that was put back from a copy begins with a lower term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Store {
    pub cluster: u64,
    pub term: u64,
}

impl Store {
    /// Whether `self`, which was seen later, may be the same store.
    pub fn continues(&self, earlier: &Self) -> bool {
        self.cluster == earlier.cluster && self.term >= earlier.term
    }
}

/// Reads it.
pub async fn head(connection: &Connection) -> Result<Head, Failure> {
    let keys = [connection.key("fleet"), connection.key("confirmed")];
    let gets = keys.map(|key| TxnOp::get(key, None));
    let ask = |mut client: Client| {
        let txn = Txn::new().and_then(gets.clone());
        async move { client.txn(txn).await }
    };
    let answer = connection.try_ask(PATIENCE, ask).await?;
    let (cluster, term, revision) = answer
        .header()
        .map_or((0, 0, 0), |header| (header.cluster_id(), header.raft_term(), header.revision()));
    let mut singles = answer.op_responses().into_iter().map(|response| match response {
        TxnOpResponse::Get(mut got) => got.take_kvs().into_iter().next(),
        _ => None,
    });
    Ok(Head {
        store: Store { cluster, term },
        revision,
        fleet: singles.next().flatten(),
        confirmed: singles.next().flatten(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_behind_its_prefix() {
        assert_eq!(end("/neti/members/"), b"/neti/members0");
    }

    #[test]
    fn a_store_that_was_put_back_is_another() {
        let store = Store { cluster: 1, term: 5 };
        assert!(store.continues(&store));
        assert!(Store { cluster: 1, term: 6 }.continues(&store));
        assert!(!Store { cluster: 1, term: 2 }.continues(&store));
        assert!(!Store { cluster: 2, term: 5 }.continues(&store));
    }
}
