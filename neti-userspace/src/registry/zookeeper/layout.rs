//! Where things stand in the tree, and who may change them.
//!
//! With credentials (or a client certificate) a node is its creator's to change and everybody's to
//! read. Whether it can be deleted is up to the parent's ACL: the parents let everybody make
//! children and only their own creator delete them. So the operator, whose `neti fleet set` makes
//! the tree, can release locks, and a host can neither change nor remove what is another's. A host
//! cannot remove its own record either: it ends the session that owns it.
//!
//! In the classic layout the parents are open, since daemons of the original Neti have no
//! credentials.

use zookeeper_client::{Acl, Acls, AddWatchMode, CreateMode, CreateOptions, Permission};

use super::connection::Link;
use crate::config::Layout;

/// A tree below a prefix.
#[derive(Debug, Clone)]
pub struct Tree {
    pub layout: Layout,
    prefix: String,
    /// Whether what we make is ours alone.
    private: bool,
}

static OWN: [Acl; 2] = [
    Acl::new_const(Permission::ALL, "auth", ""),
    Acl::new_const(Permission::READ, "world", "anyone"),
];

static SHARED: [Acl; 3] = [
    Acl::new_const(Permission::ALL, "auth", ""),
    Acl::new_const(Permission::READ, "world", "anyone"),
    Acl::new_const(Permission::CREATE, "world", "anyone"),
];

impl Tree {
    pub fn new(layout: Layout, prefix: &str, link: &Link) -> Self {
        Self { layout, prefix: prefix.to_owned(), private: link.has_identity() }
    }

    /// Where a key of the registries' common tree stands: `fleet`, `members`, `overlays/<address>`.
    pub fn path(&self, key: &str) -> String {
        let (first, rest) = key.split_at(key.find('/').unwrap_or(key.len()));
        let first = match self.layout {
            Layout::Neti => first,
            Layout::Classic => classic(first),
        };
        format!("{}/{first}{rest}", self.prefix)
    }

    /// What the tree stands in.
    pub fn root(&self) -> &str {
        if self.prefix.is_empty() { "/" } else { &self.prefix }
    }

    /// The nodes whose children are the registry's.
    pub fn parents(&self) -> &'static [&'static str] {
        match self.layout {
            Layout::Neti => &["members", "overlays", "hosts", "hosts6"],
            Layout::Classic => &["members", "overlays", "hosts"],
        }
    }

    /// What a follower watches.
    pub fn watched(&self) -> Vec<(String, AddWatchMode)> {
        let mut watched = vec![
            (self.path("members"), AddWatchMode::PersistentRecursive),
            (self.path("fleet"), AddWatchMode::Persistent),
            (self.path("confirmed"), AddWatchMode::Persistent),
        ];
        if self.layout == Layout::Classic {
            watched.push((self.path("overlays"), AddWatchMode::PersistentRecursive));
            watched.push((self.path(MAX_REMOVALS), AddWatchMode::Persistent));
        }
        watched
    }

    /// How a node is made that only we change.
    pub fn own(&self, mode: CreateMode) -> CreateOptions<'static> {
        let acls = if self.private { Acls::new(&OWN) } else { Acls::anyone_all() };
        mode.with_acls(acls)
    }

    /// Whether the nodes in which every host makes children belong to whoever makes them.
    pub fn has_owner(&self) -> bool {
        self.private && self.layout == Layout::Neti
    }

    /// How a node is made in which every host makes children.
    pub fn shared(&self) -> CreateOptions<'static> {
        let acls = if self.has_owner() { Acls::new(&SHARED) } else { Acls::anyone_all() };
        CreateMode::Persistent.with_acls(acls)
    }
}

/// The key of the classic layout's removal threshold.
pub const MAX_REMOVALS: &str = "max_removals";

/// What the classic layout calls things. The settings and confirmations are ours alone there.
fn classic(key: &str) -> &str {
    match key {
        "members" => "ip-map",
        "overlays" => "ip-to-id",
        "hosts" => "id-to-ip",
        MAX_REMOVALS => "maxchange",
        "fleet" => "neti-fleet",
        "confirmed" => "neti-confirmed",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_their_paths() {
        let tree =
            |layout, prefix: &str| Tree { layout, prefix: prefix.to_owned(), private: false };
        let neti = tree(Layout::Neti, "/neti");
        assert_eq!(neti.path("overlays/100.64.0.1"), "/neti/overlays/100.64.0.1");
        assert_eq!((neti.path("fleet").as_str(), neti.root()), ("/neti/fleet", "/neti"));
        let classic = tree(Layout::Classic, "");
        assert_eq!(classic.path("overlays/100.64.0.1"), "/ip-to-id/100.64.0.1");
        assert_eq!((classic.path("fleet").as_str(), classic.root()), ("/neti-fleet", "/"));
    }
}
