//! What the rtnetlink crate does not offer: dumps that are read as they come, however large they are,
//! and notifications that cost nothing while nobody asks for them ([`notifications`]).

pub mod notifications;

use std::{fmt::Debug, io};

use anyhow::{Context, Result, bail};
use netlink_packet_core::{
    DecodeError, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkDeserializable, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};

/// Opens a socket of this network namespace to the kernel.
pub fn open(protocol: isize) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

/// Asks for all that fits `request`. It is no snapshot: what changes meanwhile may be missed or be
/// there twice.
pub fn dump<T>(
    socket: &Socket,
    request: T,
    mut each: impl FnMut(std::result::Result<T, DecodeError>) -> Result<()>,
) -> Result<()>
where
    T: NetlinkSerializable + NetlinkDeserializable + Debug,
{
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0).context("asking the kernel")?;
    loop {
        let (datagram, _) = socket.recv_from_full().context("reading the kernel's answer")?;
        for message in messages(&datagram) {
            match NetlinkMessage::<T>::deserialize(message).map(|message| message.payload) {
                Ok(NetlinkPayload::InnerMessage(inner)) => each(Ok(inner))?,
                Ok(NetlinkPayload::Done(_)) => return Ok(()),
                Ok(NetlinkPayload::Error(error)) => bail!("the kernel refuses: {error}"),
                Ok(_) => {}
                Err(error) => each(Err(error))?,
            }
        }
    }
}

/// The messages in a datagram, each with its header. They are aligned to 4 bytes.
fn messages(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut left = datagram;
    std::iter::from_fn(move || {
        let length = NetlinkBuffer::new_checked(left).ok()?.length() as usize;
        let message = left.get(..length)?;
        left = left.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}
