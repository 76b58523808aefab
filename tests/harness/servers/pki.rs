//! A throw-away certificate authority.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;

use crate::instance::server_directory;

/// An authority and the files it has issued, which live as long as the last clone.
#[derive(Clone, Debug)]
pub struct Pki {
    issuer: Arc<CertifiedIssuer<'static, KeyPair>>,
    directory: Arc<TempDir>,
}

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// The key and the certificate in one file.
    pub both: PathBuf,
}

/// What a server needs to speak TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    pub pki: Pki,
    pub identity: Identity,
    /// Whether clients without a certificate of this authority are refused.
    pub client_auth: bool,
}

/// What a client needs to speak TLS.
#[derive(Clone, Debug)]
pub struct ClientTls {
    /// The certificate of the authority that it trusts.
    pub ca: PathBuf,
    /// What it shows, if anything.
    pub identity: Option<Identity>,
}

impl ClientTls {
    /// The keys of a host's `[registry]` that make it use this.
    pub fn table(&self) -> String {
        let mut table = format!("ca = {:?}\n", self.ca);
        if let Some(identity) = &self.identity {
            table += &format!("cert = {:?}\nkey = {:?}\n", identity.certificate, identity.key);
        }
        table
    }
}

impl Pki {
    /// An authority that nobody else knows.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "neti's tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let directory = server_directory().context("make a directory for certificates")?;
        let pki = Self { issuer: Arc::new(issuer), directory: Arc::new(directory) };
        fs::write(pki.ca(), pki.issuer.pem())?;
        Ok(pki)
    }

    /// The authority's own certificate.
    pub fn ca(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A certificate for `common_name`, valid for these names and IP addresses, of a server or of a client.
    pub fn issue(&self, common_name: &str, names: &[&str]) -> Result<Identity> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // Both: etcd's gateway connects to etcd with the server's own certificate.
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &*self.issuer)?;
        self.write(&certificate.pem(), &key.serialize_pem())
    }

    /// TLS for a server that is called by these names and IP addresses.
    pub fn server(&self, names: &[&str], client_auth: bool) -> Result<Tls> {
        Ok(Tls { pki: self.clone(), identity: self.issue("registry", names)?, client_auth })
    }

    /// TLS for a client that shows a certificate for `common_name`.
    pub fn client(&self, common_name: &str) -> Result<ClientTls> {
        Ok(ClientTls { ca: self.ca(), identity: Some(self.issue(common_name, &[])?) })
    }

    /// TLS for a client that shows no certificate.
    pub fn stranger(&self) -> ClientTls {
        ClientTls { ca: self.ca(), identity: None }
    }

    fn write(&self, certificate: &str, key: &str) -> Result<Identity> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let write = |what: &str, content: &str| {
            let path = self.directory.path().join(format!("{number}-{what}.pem"));
            fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
            anyhow::Ok(path)
        };
        Ok(Identity {
            certificate: write("certificate", certificate)?,
            key: write("key", key)?,
            both: write("both", &format!("{key}{certificate}"))?,
        })
    }
}
