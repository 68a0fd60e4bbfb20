"""The product against the real control planes, beside the real Envoy. tests/interop/run starts it."""

import os
import subprocess
import sys
import time

import istiod
import shop
from control_plane import ControlPlane
from generated import World, has_mark
from identity import Identity
from istio_steps import ROUTER, SIDECAR
from pair import SDS, Pair, differences
from processes import wait_for
from results import Results, Suite, has

MODES = ["sotw"]
BLACKHOLE = float(os.environ.get("BLACKHOLE", 60))
SIZE = int(os.environ.get("SIZE", 1000))
SEED = int(os.environ.get("SEED", time.time()))
ROUNDS = 5

ADS = 18000

# A peer that went away without a word is noticed by a ping, and the next try may wait as long as this.
RECONNECT = 100


def sidecar(mode, results):
    """The proxy of a pod: every kind of change, then a control plane that goes away."""
    configuration = istiod.Configuration()
    shop.begin(configuration)
    control_plane = istiod.start(configuration)
    with Identity() as identity, agent(identity, shop.WEB), Pair(shop.WEB, istiod.XDS, mode) as pair:
        suite = Suite(mode + " sidecar", pair, results)
        suite.step("the first configuration", lambda: None, has("10.2.0.1", "inbound|8080||"))
        for sentence, change, arrived in SIDECAR:
            suite.step(sentence, lambda: change(configuration), arrived)

        control_plane.stop()
        shop.reviews(configuration, "10.2.0.50")
        shop.routes(configuration, {"route": [shop.to(shop.HOST % "ratings")], "timeout": "11s"})
        with istiod.start(configuration):
            suite.step("istiod is killed and comes back with another configuration", lambda: None, has("10.2.0.50"),
                       seconds=RECONNECT)
            blackhole(suite, configuration)


def agent(identity, node):
    """Serves Envoy its certificates; without them its inbound listener never gets ready."""
    server = ControlPlane("agent", SDS, "-ads=false")
    server.put(identity.secrets(node))
    return server


def blackhole(suite, configuration):
    """Nothing reaches istiod any more, and nothing comes from it, while its configuration changes."""
    started = time.monotonic()
    unreached = [["iptables", "INPUT", "-p", "tcp", side, str(istiod.XDS), "-j", "DROP"] for side in ("--dport", "--sport")]
    last = suite.pair.served()
    for rule in unreached:
        subprocess.run([rule[0], "-A", *rule[1:]], check=True)
    changes = 0

    def over():
        nonlocal changes
        changes += 1
        shop.reviews(configuration, "10.2.1.%d" % (changes % 250 + 1))
        lost = suite.pair.served() != last
        return lost or time.monotonic() - started > BLACKHOLE

    wait_for("the blackhole to end", over, BLACKHOLE + 10, pause=0.5)
    suite.results.add(suite.name, "blackhole: the last configuration is served meanwhile", [time.monotonic() - started] * 2,
                      differences(suite.pair.served(), last))
    shop.reviews(configuration, "10.2.0.60")
    for rule in unreached:
        subprocess.run([rule[0], "-D", *rule[1:]], check=True)
    suite.step("blackhole: over, after %d changes" % changes, lambda: None, has("10.2.0.60"), seconds=RECONNECT)


def router(mode, results):
    """A gateway."""
    configuration = istiod.Configuration()
    shop.begin(configuration)
    with istiod.start(configuration), Pair(shop.GATEWAY, istiod.XDS, mode) as pair:
        suite = Suite(mode + " router", pair, results)
        suite.step("the first configuration", lambda: None, has("10.2.0.1"))
        for sentence, change, arrived in ROUTER:
            suite.step(sentence, lambda: change(configuration), arrived)


def churn(mode, results):
    """A large configuration that changes at random."""
    world = World(SEED, SIZE)
    control_plane = ControlPlane("control-plane", ADS)
    with Pair(shop.WEB, ADS, mode) as pair:
        suite = Suite(mode + " churn, seed %d" % SEED, pair, results)

        def put(sign):
            world.mark(sign)
            control_plane.put(world.resources())

        suite.step("%d clusters" % SIZE, lambda: put(1), has_mark(1))
        for sign in range(2, 2 + ROUNDS):
            world.change(SIZE // 20)
            suite.step("%d changes at once" % (SIZE // 20), lambda: put(sign), has_mark(sign))
        for _ in range(20):
            world.change(1)
            control_plane.put(world.resources())
        suite.step("20 changes in a row", lambda: put(100), has_mark(100))
        control_plane.stop()
        world.change(SIZE // 20)
        with ControlPlane("control-plane", ADS) as control_plane:
            suite.step("the control plane is killed and comes back", lambda: put(101), has_mark(101), seconds=RECONNECT)


SUITES = [sidecar, router, churn]


def main(version, *names):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    started = time.monotonic()
    results = Results()
    for mode in MODES:
        for suite in SUITES:
            if not names or suite.__name__ in names:
                suite(mode, results)
    print("# %.0f s" % (time.monotonic() - started))
    print(results.sum(version))
    sys.exit(1 if results.differ else 0)


main(*sys.argv[1:])
