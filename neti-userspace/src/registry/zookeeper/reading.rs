//! Reading many nodes: hundreds in one question, and a few questions at a time.

use futures_util::stream::{self, StreamExt, TryStreamExt};
use zookeeper_client::{Client, Error, MultiReadResult, Stat};

use super::connection::Link;
use crate::registry::Result;

/// What there is at a path; `None` if there is nothing.
pub type Answer = std::result::Result<Option<(Vec<u8>, Stat)>, Error>;

/// So many nodes are asked for at once.
const NODES: usize = 500;

/// And no more than so many bytes of paths: a server takes no larger question than its
/// `jute.maxbuffer`, by default a megabyte. How large an answer is does not matter.
const BYTES: usize = 256 << 10;

/// So many questions are under way at once.
const QUESTIONS: usize = 4;

/// Reads the nodes and hands each on with the index of its path. If it fails, some may have been.
pub async fn each(
    link: &Link,
    client: &Client,
    paths: &[String],
    mut seen: impl FnMut(usize, Answer),
) -> Result<()> {
    let questions: Vec<_> =
        parts(paths).into_iter().map(|part| question(link, client, part)).collect();
    let mut answers = stream::iter(questions).buffered(QUESTIONS);
    let mut index = 0;
    while let Some(answers) = answers.try_next().await? {
        for answer in answers {
            seen(index, answer);
            index += 1;
        }
    }
    Ok(())
}

/// What there is at each of the paths, in their order.
pub async fn all(link: &Link, client: &Client, paths: &[String]) -> Result<Vec<Answer>> {
    let mut answers = Vec::with_capacity(paths.len());
    each(link, client, paths, |_, answer| answers.push(answer)).await?;
    Ok(answers)
}

/// The content of the node at `path`.
pub async fn one(link: &Link, client: &Client, path: &str) -> Result<Option<(Vec<u8>, Stat)>> {
    link.ask(path, absent(client.get_data(path))).await
}

/// The names of the children of `path`; none if it is not there.
pub async fn children(link: &Link, client: &Client, path: &str) -> Result<Vec<String>> {
    Ok(link.ask(path, absent(client.list_children(path))).await?.unwrap_or_default())
}

async fn absent<T>(
    asked: impl Future<Output = std::result::Result<T, Error>>,
) -> std::result::Result<Option<T>, Error> {
    match asked.await {
        Ok(answer) => Ok(Some(answer)),
        Err(Error::NoNode) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn question(link: &Link, client: &Client, paths: &[String]) -> Result<Vec<Answer>> {
    let Some(first) = paths.first() else { return Ok(Vec::new()) };
    let answers = link.ask(first, async {
        let mut reader = client.new_multi_reader();
        for path in paths {
            reader.add_get_data(path)?;
        }
        reader.commit().await
    });
    let answer = |result| match result {
        MultiReadResult::Data { data, stat } => Ok(Some((data, stat))),
        MultiReadResult::Error { err: Error::NoNode } => Ok(None),
        MultiReadResult::Error { err } => Err(err),
        _ => Err(Error::UnexpectedError("an answer to another question".to_owned())),
    };
    Ok(answers.await?.into_iter().map(answer).collect())
}

/// The paths in parts that are small enough for one question.
fn parts(mut paths: &[String]) -> Vec<&[String]> {
    let mut parts = Vec::new();
    while !paths.is_empty() {
        let mut bytes = 0;
        let fits = |path: &&String| {
            bytes += path.len();
            bytes <= BYTES
        };
        let count = paths.iter().take(NODES).take_while(fits).count().max(1);
        let (part, rest) = paths.split_at(count);
        parts.push(part);
        paths = rest;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_bounded_by_nodes_and_by_bytes() {
        let sizes =
            |paths: &[String]| parts(paths).iter().map(|part| part.len()).collect::<Vec<_>>();
        let short = vec!["/neti/members/h".to_owned(); 2 * NODES + 1];
        assert_eq!(sizes(&short), [NODES, NODES, 1]);
        let long = vec!["x".repeat(BYTES / 2); 3];
        assert_eq!(sizes(&long), [2, 1]);
        assert_eq!(sizes(&["x".repeat(2 * BYTES)]), [1]);
        assert!(sizes(&[]).is_empty());
    }
}
