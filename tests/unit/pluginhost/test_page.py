"""The page of `pluginhost profile --html` shows what was measured, and nothing in it is a plugin's to say."""

from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st
from pluginhost import Finding
from pluginhost.cli.page import render
from pluginhost.importtime import Module
from pluginhost.profile import Profile, Run
from pluginhost.survey import Candidate, Distribution, Row

TAGS = {
    "b",
    "body",
    "code",
    "details",
    "div",
    "footer",
    "h1",
    "head",
    "header",
    "html",
    "i",
    "li",
    "main",
    "meta",
    "p",
} | {*("small", "span", "style", "summary", "title", "ul")}


class Page(HTMLParser):
    """The elements of a page, the attributes in them, and the text of each kind."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.titles: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.update(name for name, _ in attrs)
        self.titles += [value or "" for name, value in attrs if name == "title"]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def row(name: str = "some", distribution: str = "zoo-some", value: str = "zoo:New") -> Row:
    return Row(Candidate("zoo", name, value, Distribution(distribution, "1.0.0", "", "")), "", None, [], [])


def run(seconds: float = 0.1, imports: list[Module] | None = None) -> Run:
    return Run({"import": seconds, "new": 0.02, "init": 0.003}, 7, {"import": imports or [], "new": [], "init": []})


@settings(max_examples=20)
@given(st.text(), st.text())
def test_whatever_a_plugin_is_called_is_text(name: str, module: str) -> None:
    hostile = f"</div><script>\"{name}'>"
    failed = Profile(row(hostile), None, [Finding("import-failed", hostile, hostile)])
    imports = [Module(f"<script>{module}</script>", 0, 0, 90_000, 90_000)]
    page = Page(render([Profile(row(hostile, hostile, hostile), run(imports=imports)), failed], hostile, 3))
    assert {*page.tags} <= TAGS
    assert page.attributes <= {"class", "charset", "content", "http-equiv", "lang", "name", "style", "title"}
    assert any(text.startswith("<script>") for text in page.texts)


def test_the_page_asks_for_nothing_and_runs_nothing() -> None:
    page = render([Profile(row(), run())], "zoo", 3)
    assert "default-src 'none'" in page
    assert not re.search(r"https?:|<script|<link|<img|@import|url\(|src=", page)
    assert "$" not in page
    assert "prefers-color-scheme: dark" in page


def test_bars_are_placed_one_after_the_other_on_one_axis() -> None:
    page = render([Profile(row("slow"), run(0.177)), Profile(row("fast"), run(0.077))], "zoo", 3)
    slow, fast = re.findall(r"<summary.*?</summary>", page)
    places = [
        [(kind, float(left), float(width)) for kind, left, width in
         re.findall(r'<i class="(\w+)" style="left: ([\d.]+)%; width: ([\d.]+)%', each)]
        for each in (slow, fast)
    ]  # fmt: skip
    for stages in places:
        assert [kind for kind, _, _ in stages] == ["import", "new", "init"]
        for (_, left, width), (_, following, _) in itertools.pairwise(stages):
            assert abs(left + width - following) < 0.01
    assert places[0][1][2] == places[1][1][2], "the same time has the same length in every row"
    assert 97 < places[0][-1][1] + places[0][-1][2] < 100


def test_imports_are_shown_with_what_they_took_and_those_too_small_to_be_seen_are_counted() -> None:
    imports = [Module("zoo", 0, 0, 100_000, 60_000), Module("big", 1, 0, 39_990, 39_990)]
    imports += [Module(f"small{number}", 1, 39_990 + number, 1, 1) for number in range(10)]
    page = render([Profile(row(), run(imports=imports))], "zoo", 3)
    assert "big: 40.0 ms, itself 40.0 ms" in Page(page).titles
    assert "small1" not in page
    assert "10 more took less than" in page
    assert "New(): 20.0 ms" in Page(page).titles


def test_what_was_forged_stays_within_the_page() -> None:
    imports = [Module("forged", 5_000, 10**15, 10**15, 10**15) for _ in range(5_000)]
    page = render([Profile(row(), run(imports=imports))], "zoo", 3)
    places = re.findall(r"left: ([\d.]+)%; width: ([\d.]+)%", page)
    assert len(places) < 1_000
    assert all(float(left) + float(width) <= 100.01 for left, width in places)


def test_a_page_of_nothing_is_a_page() -> None:
    assert "0 plugins of zoo" in render([], "zoo", 1)
