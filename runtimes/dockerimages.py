"""Images of a docker daemon: the one that a container needs is there, or is pulled."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from lifecycle.errors import BadRequest, NotFound, Unavailable
from runtimes.dockerstream import followed

if TYPE_CHECKING:
    from collections.abc import Callable

    from lifecycle.clock import Cancel
    from lifecycle.ports import ContainerSpec
    from runtimes.dockerapi import Daemon
    from runtimes.dockerstream import Body


def fetch(daemon: Daemon, spec: ContainerSpec, cancel: Cancel, say: Callable[[str], None]) -> None:
    """See that the image of a container is there.

    Args:
        daemon: whose images they are.
        spec: names the image, and says when it is pulled.
        cancel: ends a pull.
        say: is told of a pull.

    Raises:
        BadRequest: it is not, and is not to be had.
        Unavailable: the daemon is away, or a registry for it.
        Cancelled: the token was set meanwhile.
    """
    # Kubernetes pulls `latest` always; an image that was built on this machine is there, and nowhere else.
    if spec.pull != "Always":
        try:
            daemon.call("GET", f"/images/{spec.image}/json")
            return
        except NotFound as error:
            if spec.pull == "Never":
                raise BadRequest(
                    f"the image {spec.image!r} of the container {spec.name!r} is not here",
                    remedy="build or load it, or have it pulled: imagePullPolicy is Never",
                ) from error
    say(f"pulling the image {spec.image}")
    try:
        followed("docker-pull", lambda: daemon.pull(spec.image), _pulled, cancel, None)
    except (NotFound, BadRequest) as error:
        raise BadRequest(
            f"the image {spec.image!r} of the container {spec.name!r} cannot be had: {error.message}",
            remedy="correct its name; for a private registry, log in there: docker login",
        ) from error
    except Unavailable as error:
        raise Unavailable(
            f"the image {spec.image!r} of the container {spec.name!r} cannot be pulled: {error.message}",
            remedy="see whether the registry can be reached from here; an image that is here already needs none",
        ) from error
    say(f"the image {spec.image} is here")


def _pulled(body: Body) -> bool:
    """Read the daemon's progress to its end.

    Raises:
        Unavailable: the daemon has begun to pull and has given up.
    """
    for line in body.lines():
        if not line.strip():
            continue
        try:
            problem = json.loads(line).get("error")
        except (ValueError, AttributeError):
            raise Unavailable("the answer is no progress of a pull; is that a docker daemon?") from None
        if problem:
            raise Unavailable(body.quoted(str(problem)))
    return True
