//! A real web server: nginx.

use std::{
    fs,
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::Stdio,
};

use anyhow::{Result, ensure};

use crate::{PATIENCE, netns::Netns, process::Process, within};

/// nginx on port 80 of both families.
#[derive(Debug)]
pub struct Web {
    _nginx: Process,
}

impl Web {
    /// Starts it in `netns` and waits until it listens. Its files are in `directory` and begin with `name`; what it serves
    /// is said by `directives` of its configuration.
    pub fn start(netns: &Netns, directory: &Path, name: &str, directives: &str) -> Result<Self> {
        let at = |suffix: &str| directory.join(format!("{name}.{suffix}"));
        let configuration = at("nginx.conf");
        // One process, so that it ends as a whole when it is killed. No log: it is written after the client has the
        // answer.
        let text = format!(
            "daemon off; master_process off; user root; pid {pid}; error_log stderr emerg;\n\
             events {{}}\n\
             http {{\n\
             access_log off;\n\
             client_body_temp_path {temporary}; proxy_temp_path {temporary};\n\
             fastcgi_temp_path {temporary}; uwsgi_temp_path {temporary}; scgi_temp_path {temporary};\n\
             server {{ listen 80; listen [::]:80; {directives} }}\n\
             }}\n",
            pid = at("pid").display(),
            temporary = at("tmp").display(),
        );
        fs::write(&configuration, text)?;
        let mut command = netns.command("nginx");
        command.arg("-e").arg("stderr").arg("-c").arg(&configuration).stdin(Stdio::null());
        let mut nginx = netns.spawn(command)?;
        let mut ended = None;
        let listens = within(PATIENCE, || {
            ended = nginx.ended();
            ended.is_some() || netns.run(|| TcpStream::connect((Ipv4Addr::LOCALHOST, 80)).is_ok())
        });
        ensure!(listens && ended.is_none(), "nginx in {} does not listen: {ended:?}", netns.name());
        Ok(Self { _nginx: nginx })
    }
}
