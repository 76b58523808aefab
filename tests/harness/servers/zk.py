"""One operation on ZooKeeper, as JSON on standard input; its result, as JSON on standard output."""

import json
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


def expire(options, session, patience):
    """Whether there was such a session. It is over then."""
    options["client_id"] = (session, password(session))
    was_there = False
    ends = time.monotonic() + patience
    while time.monotonic() < ends:
        client = KazooClient(**options)
        client.start(timeout=patience)
        # Its owner's connection is taken over, and the end of ours closes the session. Its owner may take it back
        # before: then it is to be had once more.
        ours = (client.client_id or (session,))[0]
        client.stop()
        client.close()
        if ours != session:
            return was_there
        was_there = True
    raise TimeoutError(f"session {session:#x} does not end")


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
    options = dict(request["client"])
    session = request.get("expire")
    if session is not None:
        result = expire(options, session, request["patience"])
    else:
        result = operate(options, request)
    json.dump(result, sys.stdout)


main()
