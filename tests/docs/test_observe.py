"""The page on what can be seen has every event, field by field, and every attribute of a record, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from pluginhost.events import ABOUT, TOPICS

PAGE = (Path(__file__).parent.parent.parent / "docs" / "observe.md").read_text("utf-8")


def table(header: str) -> list[list[str]]:
    """Returns the cells of a table's rows."""
    rows = PAGE.partition(f"| {header} |\n")[2].partition("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def test_every_topic_is_in_the_table() -> None:
    assert table("topic | what has happened") == [[f"`{name}`", sentence(topic.says)] for name, topic in TOPICS.items()]


def test_every_field_is_in_the_table() -> None:
    told = {}
    for of, field, says in table("topic | field | what it says"):
        topics = set(re.findall(r"`([\w.]+)`", of))
        if of == "all that begin with `plugin.`":
            topics = {name for name in TOPICS if name.startswith("plugin.")}
        elif of.startswith("`plugin.` and a state"):
            topics = {name for name, topic in TOPICS.items() if "before" in topic.fields}
        for topic in topics:
            told[topic, field.strip("`")] = says
    held = {(name, field): sentence(says) for name, topic in TOPICS.items() for field, says in topic.fields.items()}
    assert told == held


def test_every_attribute_of_a_record_is_in_the_table() -> None:
    named = [row[0].strip("`") for row in table("attribute | what it says")]
    assert named == [*ABOUT, "code", "stage"]


def test_it_names_its_topics_rightly_elsewhere() -> None:
    states = set(re.findall(r"`((?:plugin|route)\.[a-z_]+)`", PAGE))
    assert states <= set(TOPICS)
