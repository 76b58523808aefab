//! The file with the names of members follows those that the daemon knows.

use std::net::IpAddr;

use neti_userspace::{
    membership::HostId,
    status::names,
    sync::{Names, Status},
};
use tokio::sync::watch;

use crate::support::{Instance, may_run};

#[tokio::test]
async fn the_names_written_are_the_last_ones() {
    if !may_run("the_names_written_are_the_last_ones") {
        return;
    }
    let Instance(pins) = &Instance::new();
    let instance = pins.instance();
    assert!(names::read(instance).unwrap().is_empty(), "none were written");
    let (publish, status) = watch::channel(Status::default());
    let follow = tokio::spawn(names::follow(instance.to_owned(), status));
    let mut names = Names::new();
    for number in 1..=100 {
        let id: HostId = format!("host-{number}").parse().unwrap();
        names.insert(IpAddr::from([100, 64, 0, number]), id);
        publish.send_modify(|status| status.names = names.clone());
        tokio::task::yield_now().await;
        // What comes in quick succession is written together, and yet without another change.
        if number == 50 {
            while names::read(instance).unwrap().len() < 50 {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
    }
    drop(publish);
    follow.await.unwrap();
    let written = names::read(instance).unwrap();
    assert_eq!(written, names.into_iter().collect());
}
