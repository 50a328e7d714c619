"""kubectl's JSONPath templates."""

from __future__ import annotations

import pytest

from lifecycle import jsonpath
from lifecycle.errors import InputError

OBJECT = {
    "kind": "List",
    "count": 3,
    "ratio": 1.5,
    "ok": True,
    "nothing": None,
    "items": [
        {"kind": "None", "metadata": {"name": "127.0.0.1"}, "status": {"capacity": {"cpu": "4"}, "n": 1}},
        {"kind": "None", "metadata": {"name": "127.0.0.2"}, "status": {"capacity": {"cpu": "8"}, "n": 2}},
    ],
    "users": [{"name": "myself", "user": {}}, {"name": "e2e", "user": {"username": "admin", "password": "secret"}}],
    "metadata": {"annotations": {"example.com/x": "dotted", "plain": "p"}},
    "conditions": [{"type": "Ready", "status": "True"}, {"type": "Disk", "status": "False"}],
}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{.kind}", "List"),
        ("{@.kind}", "List"),
        ("{$.kind}", "List"),
        ("{ .kind }", "List"),
        ("{['kind']}", "List"),
        ("{[kind]}", "List"),
        ("{.count}", "3"),
        ("{.ratio}", "1.5"),
        ("{.ok}", "true"),
        ("{.nothing}", ""),
        ("{.missing}", ""),
        ("{.missing.too}", ""),
        ("kind is {.kind}!", "kind is List!"),
        ("", ""),
        ("plain", "plain"),
        ("{}", ""),
        ("{.items[0].metadata.name}", "127.0.0.1"),
        ("{.items[-1].metadata.name}", "127.0.0.2"),
        ("{.items[9].metadata.name}", ""),
        ("{.items[*].metadata.name}", "127.0.0.1 127.0.0.2"),
        ("{.items[0:1].metadata.name}", "127.0.0.1"),
        ("{.items[:].metadata.name}", "127.0.0.1 127.0.0.2"),
        ("{.items[0:2:2].metadata.name}", "127.0.0.1"),
        ("{.items[0,1].metadata.name}", "127.0.0.1 127.0.0.2"),
        ("{.items[*]['metadata.name', 'kind']}", "None None"),
        ("{.items[*]['kind', 'missing']}", "None None"),
        ("{.items[*].status.capacity}", '{"cpu":"4"} {"cpu":"8"}'),
        ("{.users[0].user}", "{}"),
        ("{..name}", "127.0.0.1 127.0.0.2 myself e2e"),
        ("{.metadata.annotations.*}", "dotted p"),
        (r"{.metadata.annotations.example\.com/x}", "dotted"),
        ('{.users[?(@.name=="e2e")].user.password}', "secret"),
        ("{.users[?(@.name == 'e2e')].user.password}", "secret"),
        ('{.conditions[?(@.type=="Ready")].status}', "True"),
        ('{.conditions[?(@.type!="Ready")].status}', "False"),
        ("{.items[?(@.status.n>1)].metadata.name}", "127.0.0.2"),
        ("{.items[?(@.status.n<=1)].metadata.name}", "127.0.0.1"),
        ("{.users[?(@.user.username)].name}", "e2e"),
        ('{range .items[*]}{.metadata.name}={.status.capacity.cpu}{"\\n"}{end}', "127.0.0.1=4\n127.0.0.2=8\n"),
        ("{range .items[*]}[{.metadata.name}, {.status.n}] {end}", "[127.0.0.1, 1] [127.0.0.2, 2] "),
        ("{range .items[*]}{range .status.capacity.*}<{@}>{end}{end}", "<4><8>"),
        ("{.kind} {.count}", "List 3"),
        ("{.kind .count}", "List 3"),
        ('{"a\\tb"}', "a\tb"),
        ("{.range}", ""),
        ("{.end}", ""),
    ],
)
def test_a_template_prints_what_kubectl_prints(template: str, expected: str):
    assert jsonpath.render(template, OBJECT, place="p") == expected


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{.kind", "a brace is not closed"),
        ("{range .items[*]}x", "has no {end}"),
        ("x{end}", "column 3: {end} without a {range}"),
        ("{.items[}", "column 9: unexpected '}'"),
        ("{.items[?(@.a=)]}", "column 14: unexpected '='"),
        ("{kind}", "column 2: unexpected 'k'"),
        ("{.items[0:2:0]}", "goes forward"),
        ("{.users[?(@.name>1)].name}", "cannot be compared by >"),
    ],
)
def test_what_is_no_template_is_said(template: str, message: str):
    with pytest.raises(InputError, match=message):
        jsonpath.render(template, OBJECT, place="$.outputs.parameters[0].valueFrom.jsonPath")


def test_a_template_is_judged_without_an_object():
    jsonpath.check("{.a}", place="p")
    with pytest.raises(InputError, match="p: the template ends too early"):
        jsonpath.check("{.a", place="p")
