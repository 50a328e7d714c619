"""What a remote repository has, and what of it a ``revision`` means. Everything is decided from one listing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from lifecycle.errors import BadRequest

EVERYTHING: Final = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
_FULL: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHORT: Final = re.compile(r"[0-9a-f]{4,63}")
_EXPRESSION: Final = re.compile(
    r"(?P<name>[^-~^:?*\[\\\s][^~^:?*\[\\\s]*)(?P<steps>(?:~\d{0,9}|\^\d?|\^\{(?:commit)?\})*)"
)
_STEP: Final = re.compile(r"([~^])(\d*)(?!\{)")


@dataclass(frozen=True, slots=True)
class Wanted:
    """One commit to fetch.

    Attributes:
        refspec: how it is asked for; empty when only a search in all the history can find it.
        found: what it is called here afterwards.
        branch: the branch that it is the tip of, if it was asked for as one.
    """

    refspec: str
    found: str
    branch: str = ""

    @property
    def bare(self) -> bool:
        """Whether it is asked for by its id, which a server may refuse."""
        return self.refspec == self.found


@dataclass(frozen=True, slots=True)
class Revision:
    """``main~2`` taken apart.

    Attributes:
        name: a branch, tag, other ref, or a commit's id.
        steps: what follows it.
        back: how many commits the steps go back at most: so many more have to be fetched.
    """

    name: str
    steps: str = ""
    back: int = 0

    @property
    def is_id(self) -> bool:
        """Whether the name is a whole commit id."""
        return _FULL.fullmatch(self.name) is not None


def parse_revision(text: str) -> Revision:
    """Take a revision apart.

    Raises:
        BadRequest: it is no name followed by ``~n`` and ``^n``; also for one that could pass for an option.
    """
    found = _EXPRESSION.fullmatch(text)
    if found is None or "@{" in text or ".." in text:
        raise BadRequest(
            f"the revision {text!r} of a git artifact cannot be resolved in a repository that is just fetched",
            remedy="give a branch, a tag, a commit, a ref, or one of these followed by ~n or ^n",
        )
    name = "HEAD" if found["name"] == "@" else found["name"]
    return Revision(name, found["steps"], _back(found["steps"]))


class Remote:
    """The refs of a remote repository, as ``git ls-remote --symref`` lists them."""

    def __init__(self, listing: str) -> None:
        self.refs: dict[str, str] = {}
        self.default = ""
        """The ref that HEAD points to; empty when it points to none, or to a commit."""
        for line in listing.splitlines():
            value, _, name = line.partition("\t")
            if value.startswith("ref: "):
                self.default = value.removeprefix("ref: ") if name == "HEAD" else self.default
            else:
                self.refs[name] = value

    @property
    def sha256(self) -> bool:
        """Whether its ids are SHA-256."""
        return any(len(value) == 64 for value in self.refs.values())

    def branch(self, name: str) -> Wanted:
        """A branch.

        Raises:
            BadRequest: there is none of this name.
        """
        if (ref := f"refs/heads/{name}") not in self.refs:
            raise BadRequest(f"there is no branch {name!r}", remedy="correct `branch`")
        return _as_ref(ref)

    def head(self) -> Wanted:
        """What a clone without further wishes checks out.

        Raises:
            BadRequest: HEAD leads nowhere.
        """
        if self.default in self.refs:
            return _as_ref(self.default)
        if "HEAD" in self.refs:
            return Wanted(self.refs["HEAD"], self.refs["HEAD"])
        raise BadRequest(
            f"its HEAD points to {self.default or 'nothing'!r}, which is not there",
            remedy="name a `revision`, or a `branch` with `singleBranch`",
        )

    def wanted(self, name: str) -> Wanted:
        """What a revision's name means: git's own order, then what upstream's local branches allow, then ids.

        Raises:
            BadRequest: nothing; a missing revision is never NotFound, as the repository is what the key names.
        """
        if name == "HEAD":
            return self.head()
        if _FULL.fullmatch(name):
            return Wanted(name, name)
        below = name.removeprefix("refs/remotes/").removeprefix("origin/")
        for ref in (name, f"refs/{name}", f"refs/tags/{name}", f"refs/heads/{name}", f"refs/heads/{below}"):
            if ref.startswith("refs/") and ref in self.refs:
                return _as_ref(ref)
        if _SHORT.fullmatch(name):
            tips = {value for value in self.refs.values() if value.startswith(name)}
            tip = tips.pop() if len(tips) == 1 else ""
            return Wanted(tip, tip) if tip else Wanted("", name)
        raise BadRequest(
            f"there is no revision {name!r}: no branch, tag or other ref of this name",
            remedy="correct `revision`; `git ls-remote` lists what there is",
        )


def _as_ref(ref: str) -> Wanted:
    if ref.startswith("refs/heads/"):
        branch = ref.removeprefix("refs/heads/")
        here = f"refs/remotes/origin/{branch}"
        return Wanted(f"+{ref}:{here}", here, branch)
    return Wanted(f"+{ref}:{ref}", ref)


def _back(steps: str) -> int:
    counted = ((kind, count) for kind, count in _STEP.findall(steps))
    return sum(int(count or 1) if kind == "~" else int(count != "0") for kind, count in counted)
