"""One operation on ZooKeeper, as JSON on standard input; its result, as JSON on standard output."""

import json
import socket
import struct
import sys
import time

from kazoo.client import KazooClient
from kazoo.exceptions import NodeExistsError, NoNodeError, NotEmptyError
from kazoo.security import ACL, Id

MASK = (1 << 48) - 1


def put(client, nodes):
    for parent in {path.rpartition("/")[0] for path in nodes} - {""}:
        client.ensure_path(parent)
    # All are on their way before the first is waited for.
    creations = [(path, client.create_async(path, value.encode())) for path, value in nodes.items()]
    for path, creation in creations:
        try:
            creation.get()
        except NodeExistsError:
            client.set(path, nodes[path].encode())


def get(client, path):
    try:
        return client.get(path)[0].decode()
    except NoNodeError:
        return None


def ls(client, path):
    try:
        return sorted(client.get_children(path))
    except NoNodeError:
        return []


def delete(client, paths):
    for path, deletion in [(path, client.delete_async(path)) for path in paths]:
        try:
            deletion.get()
        except NoNodeError:
            pass
        except NotEmptyError:
            client.delete(path, recursive=True)


def set_acl(client, path, entries):
    client.set_acls(path, [ACL(perms, Id(scheme, name)) for perms, scheme, name in entries])


def acl(client, path):
    return [[entry.perms, entry.id.scheme, entry.id.id] for entry in client.get_acls(path)[0]]


def owner(client, path):
    stat = client.exists(path)
    return stat.ephemeralOwner if stat else 0


def password(session):
    """The server's own secret for a session: java.util.Random seeded with the id (SessionTracker's generatePasswd)."""
    seed = (session ^ 0xB3415C00 ^ 0x5DEECE66D) & MASK
    words = []
    for _ in range(4):
        seed = (seed * 0x5DEECE66D + 0xB) & MASK
        words.append((seed >> 16 & 0xFFFFFFFF).to_bytes(4, "little"))
    return b"".join(words)


def expire(hosts, session, patience):
    """Ends a session; whether there was one.

    The connection of its owner is taken over and closes the session, in one breath: the owner is back at once, and takes
    it from whoever pauses in between. Only the server's word that there is no such session tells that it is over.
    """
    deadline = time.monotonic() + patience
    found = False
    while time.monotonic() < deadline:
        answer = take_over_and_close(hosts, session)
        if answer == 0:
            return found
        found = found or answer == session
    raise TimeoutError(f"session {session:#x} is taken back again and again")


def take_over_and_close(hosts, session):
    """The session that the server has connected us to, 0 if there is none such; None if it did not say."""
    host, _, port = hosts.rpartition(":")
    # ConnectRequest: protocol, last zxid seen, timeout in milliseconds, session, password, whether reading is enough.
    begin = struct.pack(">iqiqi16s?", 0, 0, 10_000, session, 16, password(session), False)
    # RequestHeader: xid, and closeSession.
    end = struct.pack(">ii", 1, -11)
    heard = b""
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=3) as stream:
            stream.sendall(b"".join(struct.pack(">i", len(frame)) + frame for frame in (begin, end)))
            # To the end: the session is closed by then.
            while part := stream.recv(4096):
                heard += part
    except OSError:
        # What was heard before still tells.
        pass
    # ConnectResponse: its length, protocol, timeout, session.
    return struct.unpack_from(">iiiq", heard)[3] if len(heard) >= 20 else None


def operate(options, request):
    client = KazooClient(**options)
    client.start(timeout=request["patience"])
    if request["user"]:
        client.add_auth("digest", request["user"])
    operations = (put, get, ls, delete, set_acl, acl, owner)
    operation = {function.__name__: function for function in operations}[request["operation"]]
    result = operation(client, *request["arguments"])
    client.stop()
    client.close()
    return result


def main():
    request = json.load(sys.stdin)
    options = request["client"]
    session = request.get("expire")
    if session is None:
        result = operate(options, request)
    else:
        result = expire(options["hosts"], session, request["patience"])
    json.dump(result, sys.stdout)


main()
