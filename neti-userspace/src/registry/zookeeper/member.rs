//! Which nodes say that a host is a member of the fleet.

use std::net::IpAddr;

use zookeeper_client::Client;

use super::{Place, classic::Member, reading};
use crate::{
    config::Layout,
    membership::{HostId, MemberRecord},
    registry::Result,
};

/// A node that says that a host is a member.
#[derive(Debug)]
pub struct Standing {
    pub path: String,
    pub data: Vec<u8>,
    /// `None` if it is none.
    pub record: Option<MemberRecord>,
    /// Of its content.
    pub version: i32,
    /// The session that it ends with; 0 if with none.
    pub owner: i64,
}

/// The nodes that make a member of host `id`, which has these overlay addresses.
pub async fn standing(
    place: &Place,
    client: &Client,
    id: &HostId,
    overlays: &[IpAddr],
) -> Result<Vec<Standing>> {
    let names = match place.tree.layout {
        Layout::Neti => vec![id.to_string()],
        Layout::Classic => {
            let all = reading::children(&place.link, client, &place.tree.path("members")).await?;
            let is_ours = |name: &String| {
                Member::parse(name).is_ok_and(|member| overlays.contains(&member.overlay.into()))
            };
            all.into_iter().filter(is_ours).collect()
        }
    };
    let paths: Vec<String> =
        names.iter().map(|name| place.tree.path(&format!("members/{name}"))).collect();
    let answers = reading::all(&place.link, client, &paths).await?;
    let mut standing = Vec::new();
    for ((name, path), answer) in names.into_iter().zip(paths).zip(answers) {
        let Some((data, stat)) = answer.map_err(|error| place.link.error(&path, error))? else {
            continue;
        };
        let record = match place.tree.layout {
            Layout::Neti => MemberRecord::parse(&name, &data).ok(),
            Layout::Classic => Member::parse(&name).ok().map(|member| member.record(id.clone())),
        };
        let (version, owner) = (stat.version, stat.ephemeral_owner);
        standing.push(Standing { path, data, record, version, owner });
    }
    Ok(standing)
}
