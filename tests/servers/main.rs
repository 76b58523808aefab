//! Promise: the tests' registry servers are what they say: real, killed and started with their data, hung, cut off.

mod cut;
mod etcd;
mod stage;
mod zookeeper;

type Result = anyhow::Result<()>;
