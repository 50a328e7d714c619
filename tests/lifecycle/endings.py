"""What the tests of endings have in common."""

from lifecycle.errors import Unavailable
from tests.fakes import World

ARCHIVE = {"s3": {"endpoint": "e", "bucket": "b", "key": "wf/pod"}}
HOUR = 3600.0


def make_world(tmp_path):
    """A script of a parameter, a result and an artifact, which ends well after five seconds."""
    outputs = {
        "parameters": [{"name": "p", "valueFrom": {"path": "/tmp/p"}}],
        "artifacts": [{"name": "a", "path": "/tmp/a"}],
    }
    script = {"image": "i", "command": ["sh"], "source": ""}
    world = World(tmp_path, {"name": "t", "script": script, "outputs": outputs, "archiveLocation": ARCHIVE})
    world.runtime.files = {"/tmp/p": b"value\n", "/tmp/a": b"A"}
    world.runtime.stdout = b"the result\n"
    return world


def ends(world, status, message):
    """Run `wait`, and see that the report and the termination message say the same."""
    assert world.wait() == status
    assert world.message == message
    assert world.messages[-1] == message


def saved(world):
    """Whether everything that main made has been reported."""
    [report] = world.control.reports
    names = [one["name"] for one in report.outputs.get("artifacts", [])]
    values = [one.get("value") for one in report.outputs.get("parameters", [])]
    return (values, report.outputs.get("result"), names) == (["value"], "the result", ["a"])


def away(times):
    return [Unavailable("the node does not answer")] * times
