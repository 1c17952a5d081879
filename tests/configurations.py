"""Configurations, right and wrong, as hypothesis makes them."""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import strategies as st

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
SECONDS = st.floats(0.001, 86_399, allow_nan=False) | st.integers(1, 86_399)
NUMBER = st.integers(1, 999_999_999)
FLAG = st.booleans()
PLAIN = {
    "enabled": FLAG, "config": st.dictionaries(TEXT, TEXT | NUMBER | st.lists(NUMBER), max_size=3), "concurrency": NUMBER,
    "import_timeout": SECONDS, "new_timeout": SECONDS, "init_timeout": SECONDS, "call_timeout": SECONDS,
    "shutdown_timeout": SECONDS, "on_timeout": st.sampled_from(["report", "abandon"]), "breaker_failures": NUMBER,
    "breaker_seconds": SECONDS, "check_replies": FLAG, "isolation": st.sampled_from(["none", "process"]), "critical": FLAG,
    "limits": st.fixed_dictionaries({}, optional={"memory": NUMBER, "cpu": NUMBER, "files": NUMBER}),
}  # fmt: skip
HOST = {
    "group": TEXT, "api": TEXT, "plugin_dirs": st.lists(TEXT, max_size=3), "capabilities": st.lists(TEXT, max_size=3),
    "probe": st.sampled_from(["never", "new", "always"]), "probe_timeout": SECONDS, "shutdown_timeout": SECONDS,
    "safe_mode": FLAG, "allow": st.lists(TEXT, max_size=3),
}  # fmt: skip
PLUGIN = st.fixed_dictionaries({}, optional={**PLAIN, "distribution": TEXT})
INSTANCE = st.fixed_dictionaries({"plugin": TEXT}, optional=PLAIN)
SPELT = {
    "english": "english",
    "odd name": '"odd name"',
    "a.b": '"a.b"',
    'q"': '"q\\""',
    "": '""',
    "ä": '"ä"',
    "ß\\": '"ß\\\\"',
}
RIGHT = st.fixed_dictionaries(
    {
        "plugins": st.dictionaries(st.sampled_from(list(SPELT)), PLUGIN, min_size=1, max_size=3),
        "instances": st.dictionaries(st.sampled_from(["one", "t-w_o"]), INSTANCE, min_size=1),
    },
    optional=HOST,
)

NOT_TEXT = [3, 1.5, True, [], ["x"], {}, float("nan")]
WRONG: dict[Any, list[Any]] = {
    FLAG: [0, 1, 3, "true", "", [], {}, 1.5],
    NUMBER: [0, -1, 1.0, 1.5, "5", True, [], 10**9, 10**60],
    SECONDS: [0, -1, 0.0, float("nan"), float("inf"), float("-inf"), 86_400, 10**60, "3", True, [], {}],
    TEXT: NOT_TEXT,
    "lists": ["x", 3, True, {}, [1], ["x", 3], [["x"]]],
    "words": ["", "sometimes", "New", 3, True, []],
    "config": [3, "x", [], True, [{}]],
}


def wrong_for(name: str, kind: Any) -> list[Any]:
    if name in ("plugin_dirs", "capabilities", "allow"):
        return WRONG["lists"]
    return WRONG.get("config" if name in ("config", "limits") else kind, WRONG["words"])


class Wrong(NamedTuple):
    values: dict[str, Any]
    path: str
    hint: str


@st.composite
def wrong(draw: st.DrawFn) -> Wrong:
    """A right configuration with one fault, and the path of it."""
    values = draw(RIGHT)
    where = draw(st.sampled_from(["host", "plugins", "instances"]))
    table, path, fields = values, "", {**HOST, "plugins": None, "instances": None}
    if where != "host":
        name = draw(st.sampled_from(sorted(values[where])))
        table, path = values[where][name], f"{where}.{SPELT.get(name, name)}"
        fields = {**PLAIN, "distribution": TEXT} if where == "plugins" else {**PLAIN, "plugin": TEXT}
    how = draw(st.sampled_from(["value", "value", "value", "misspelt", "table", "missing"]))
    if how == "missing" and where == "instances":
        del table["plugin"]
        return Wrong(values, f"{path}.plugin", "write a text")
    if how == "table" and where != "host":
        values[where][name] = draw(st.sampled_from([3, "x", True, [], [{}]]))
        return Wrong(values, path, "write a table")
    key = draw(st.sampled_from(sorted(fields)))
    inside = path and f"{path}."
    if how == "misspelt":
        place = draw(st.integers(0, len(key) - 1))
        misspelt = draw(st.sampled_from([key[:place] + key[place + 1 :], key[:place] + "x" + key[place:]]))
        table[misspelt] = draw(TEXT)
        return Wrong(values, f"{inside}{misspelt}", "did you mean")
    if fields[key] is None:
        table[key] = draw(st.sampled_from([3, "x", True, []]))
        return Wrong(values, key, "write a table")
    bad = draw(st.sampled_from(wrong_for(key, fields[key])))
    table[key] = bad
    place = (
        next((f"[{number}]" for number, each in enumerate(bad) if not isinstance(each, str)), "")
        if (isinstance(bad, list) and key in ("plugin_dirs", "capabilities", "allow"))
        else ""
    )
    return Wrong(values, f"{inside}{key}{place}", "write ")
