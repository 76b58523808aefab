//! Promise: whatever becomes of the registry, members go on talking: no packet between them is lost, everybody says since
//! when the registry was not heard, and afterwards all are registered again with the addresses they had.

/// Makes a test of each registry from functions that are generic over its server.
macro_rules! on_each_registry {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[test]
            fn etcd() -> super::Result {
                super::$name::<super::Etcd>()
            }

            #[test]
            fn zookeeper() -> super::Result {
                super::$name::<super::ZooKeeper>()
            }
        }
    )+};
}

mod broken;
mod cluster;
mod etcd;
mod guard;
mod restart;
mod stage;
mod zookeeper;

use harness::servers::{Cut, Etcd, ZooKeeper};
use neti_userspace::guard::SETTLING;
use nix::sys::signal::Signal;
use stage::{Registry, TTL, stage};

type Result = anyhow::Result<()>;

on_each_registry!(
    the_server_is_killed,
    the_server_hangs,
    the_network_is_cut,
    a_host_hangs_longer_than_its_record_lives,
    a_killed_host_is_gone_and_comes_back_with_its_address,
);

fn the_server_is_killed<S: Registry>() -> Result {
    stage::<S>()?.without_loss(|stage| {
        stage.server.kill();
        stage.goes_stale()?;
        stage.server.restart()?;
        stage.converges(61)
    })
}

fn the_server_hangs<S: Registry>() -> Result {
    stage::<S>()?.without_loss(|stage| {
        stage.server.hang();
        stage.goes_stale()?;
        stage.server.go_on();
        stage.converges(61)
    })
}

fn the_network_is_cut<S: Registry>() -> Result {
    stage::<S>()?.without_loss(|stage| {
        let cut = Cut::off(&stage.site.netns)?;
        stage.goes_stale()?;
        cut.heal()?;
        stage.converges(61)
    })
}

/// Its lease or session ends while it cannot know.
fn a_host_hangs_longer_than_its_record_lives<S: Registry>() -> Result {
    let mut stage = stage::<S>()?;
    stage.right.signal(Signal::SIGSTOP)?;
    stage.left.await_members(&[]);
    stage.right.signal(Signal::SIGCONT)?;
    stage.left.await_members(&["right"]);
    stage.without_loss(|stage| stage.converges(61))
}

fn a_killed_host_is_gone_and_comes_back_with_its_address<S: Registry>() -> Result {
    let mut stage = stage::<S>()?;
    let overlay = stage.right.overlay(stage::FAMILY);
    stage.right.stop(Signal::SIGKILL)?;
    let killed = std::time::Instant::now();
    stage.left.await_members(&[]);
    let gone = killed.elapsed().as_secs_f64();
    println!("gone {gone:.1} s after it was killed, ttl {TTL} s");
    // On a busy machine so short a time is soon an outage for left itself, which waits for others to come back after
    // each of them.
    let outages = stage.left.log().matches("followed again").count();
    let limit = TTL + 5.0 + (SETTLING * outages as u32).as_secs_f64();
    anyhow::ensure!(gone < limit, "after {outages} outages of its own: {}", stage.left.log());
    stage.right.start()?;
    assert_eq!(stage.right.overlay(stage::FAMILY), overlay);
    stage.left.await_members(&["right"]);
    stage.right.stop(Signal::SIGTERM)?;
    anyhow::ensure!(stage.operator.get("members/right")?.is_none(), "SIGTERM withdraws");
    stage.left.await_members(&[]);
    // A re-imaged machine: nothing is left but the id.
    anyhow::ensure!(stage.right.down()?.status.success());
    stage.right.start()?;
    assert_eq!(stage.right.overlay(stage::FAMILY), overlay);
    stage.left.await_members(&["right"]);
    Ok(())
}
