"""Stands in for a daemon of the original Neti: writes what it wrote, prints what it would use.

Usage: daemon.py SERVERS PREFIX ID PUBLIC PRIVATE OVERLAY FLAG

Takes OVERLAY for ID as the original did, joins the party, and prints the peers as a line of JSON,
overlay address to the real one that it would translate to, whenever they change. Ends when its
input does.
"""

import json
import select
import sys
import time

from kazoo.client import KazooClient
from kazoo.exceptions import NodeExistsError
from kazoo.recipe.party import ShallowParty

servers, prefix, host, public, private, overlay, flag = sys.argv[1:]
zk = KazooClient(hosts=servers, timeout=2)
zk.start()


def put(path, value):
    zk.ensure_path(path.rsplit("/", 1)[0])
    try:
        zk.create(path, value.encode())
    except NodeExistsError:
        zk.set(path, value.encode())


def peers(party):
    chosen = {}
    for name in party:
        their_public, their_private, their_overlay, their_flag = name.split("|")
        chosen[their_overlay] = their_private if their_flag == flag else their_public
    return chosen


put(f"{prefix}/id-to-ip/{host}", overlay)
party = ShallowParty(zk, f"{prefix}/ip-map", identifier=f"{public}|{private}|{overlay}|{flag}")
party.join()
# The worst order there is: a member whose address belongs to nobody yet.
time.sleep(0.3)
put(f"{prefix}/ip-to-id/{overlay}", host)

last = None
while True:
    if select.select([sys.stdin], [], [], 0.05)[0] and not sys.stdin.readline():
        break
    now = peers(party)
    if now != last:
        print(json.dumps(now), flush=True)
        last = now
party.leave()
zk.stop()
