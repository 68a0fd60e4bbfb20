"""The product against the real control planes, beside the real Envoy. tests/interop/run starts it."""

import os
import subprocess
import sys
import time
import traceback

import istiod
import shop
from control_plane import ControlPlane
from generated import World, has_mark
from identity import Identity
from istio_steps import ROUTER, SIDECAR
from pair import MODES, SDS, Pair, differences
from processes import stop_all, wait_for
from results import Results, Suite, has

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
    agent(Identity(), shop.WEB)
    suite = Suite(mode + " sidecar", Pair(shop.WEB, istiod.XDS, mode), results)
    suite.step("the first configuration", lambda: None, has("10.2.0.1", "inbound|8080||"))
    for sentence, change, arrived in SIDECAR:
        suite.step(sentence, lambda: change(configuration), arrived)
    restart(suite, configuration, control_plane)
    blackhole(suite, configuration)


def agent(identity, node):
    """Serves Envoy its certificates; without them its inbound listener never gets ready."""
    ControlPlane("agent", SDS, "-ads=false").put(identity.secrets(node))


def restart(suite, configuration, control_plane):
    """istiod dies, its configuration changes, and it is back."""
    control_plane.stop()
    shop.reviews(configuration, "10.2.0.50")
    shop.routes(configuration, {"route": [shop.to(shop.HOST % "ratings")], "timeout": "11s"})
    suite.step("istiod is killed and comes back with another configuration", lambda: istiod.start(configuration),
               has("10.2.0.50"), seconds=RECONNECT)


def blackhole(suite, configuration):
    """Nothing reaches istiod any more, and nothing comes from it, while its configuration changes."""
    started = time.monotonic()
    last = suite.pair.served()
    changes = 0

    def over():
        nonlocal changes
        changes += 1
        shop.reviews(configuration, "10.2.1.%d" % (changes % 250 + 1))
        return suite.pair.served() != last or time.monotonic() - started > BLACKHOLE

    drop("-A")
    wait_for("the blackhole to end", over, BLACKHOLE + 10, pause=0.5)
    lasted = time.monotonic() - started
    suite.results.add(suite.name, "blackhole: the last configuration is served meanwhile", (lasted, lasted),
                      differences(suite.pair.served(), last))
    shop.reviews(configuration, "10.2.0.60")
    suite.step("blackhole: over, after %d changes" % changes, lambda: drop("-D"), has("10.2.0.60"), seconds=RECONNECT)


def drop(action):
    """Drops, or no longer drops, what goes to istiod and comes from it, without a word to either side."""
    for side in ("--dport", "--sport"):
        subprocess.run(["iptables", action, "INPUT", "-p", "tcp", side, str(istiod.XDS), "-j", "DROP"], check=True)


def secure(mode, results):
    """istiod with certificates and tokens that are known: both come by its secure port."""
    configuration = istiod.Configuration()
    shop.begin(configuration)
    identity = Identity()
    control_plane = istiod.start(configuration, settings=identity.settings())
    agent(identity, shop.WEB)
    pair = Pair(shop.WEB, istiod.XDS, mode, istiod.SECURE_XDS, identity)
    suite = Suite(mode + " secure", pair, results)
    pair.show(identity.token(shop.WEB, audience="somebody else"))
    wait_for("the refusal", lambda: pair.told("Unauthenticated"))
    suite.step("the first configuration, once the token is right", lambda: pair.show(identity.token(shop.WEB)),
               has("10.2.0.1", "inbound|8080||"))
    sentence, change, arrived = SIDECAR[0]
    suite.step(sentence, lambda: change(configuration), arrived)
    wait_for("a certificate", lambda: pair.told("spiffe://cluster.local/ns/shop/sa/default"))
    pair.show("expired")
    control_plane.stop()
    shop.reviews(configuration, "10.2.0.70")
    suite.step("istiod is killed and comes back, and the certificate alone is right",
               lambda: istiod.start(configuration, settings=identity.settings()), has("10.2.0.70"), seconds=RECONNECT)


def router(mode, results):
    """A gateway."""
    configuration = istiod.Configuration()
    shop.begin(configuration)
    istiod.start(configuration)
    suite = Suite(mode + " router", Pair(shop.GATEWAY, istiod.XDS, mode), results)
    suite.step("the first configuration", lambda: None, has("10.2.0.1"))
    for sentence, change, arrived in ROUTER:
        suite.step(sentence, lambda: change(configuration), arrived)


def churn(mode, results):
    """A large configuration that changes at random."""
    world = World(SEED, SIZE)
    control_plane = ControlPlane("control-plane", ADS)
    suite = Suite("%s churn, seed %d" % (mode, SEED), Pair(shop.WEB, ADS, mode), results)

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
    # Envoy waits 15 s for endpoints that go-control-plane, having gone on, no longer sends.
    suite.step("20 changes in a row", lambda: put(100), has_mark(100), seconds=RECONNECT)
    control_plane.stop()
    world.change(SIZE // 20)
    control_plane = ControlPlane("control-plane", ADS)
    suite.step("the control plane is killed and comes back", lambda: put(101), has_mark(101), seconds=RECONNECT)


SUITES = [sidecar, secure, router, churn]


def main(version, *names):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    results = Results()
    for mode in MODES:
        for suite in SUITES:
            if not names or suite.__name__ in names:
                run(suite, mode, results)
    print(results.sum(version))
    sys.exit(1 if results.differ else 0)


def run(suite, mode, results):
    """A suite that breaks off is a difference, and the next one runs."""
    started = time.monotonic()
    try:
        suite(mode, results)
    except Exception:
        lasted = time.monotonic() - started
        results.add("%s %s" % (mode, suite.__name__), "breaks off", (lasted, lasted), traceback.format_exc().splitlines())
    finally:
        stop_all()
    print("# %s %s took %.0f s" % (mode, suite.__name__, time.monotonic() - started), flush=True)


main(*sys.argv[1:])
