"""Proofs for the glossary's words on the pages: explained at their first use, once."""

from __future__ import annotations

import pathlib
import re
from types import SimpleNamespace

import glossary_hover

SITE = pathlib.Path(__file__).resolve().parents[1] / "site_docs"
ABOUT = {"fsync": 'A call that "waits".', "rank": "A process."}
URL = "../../glossary/"


def explained(content: str) -> str:
    return glossary_hover.explained(content, ABOUT, glossary_url=URL)


def test_only_the_first_use_of_a_word_is_linked_with_its_definition() -> None:
    got = explained("<p>Call fsync. Each rank calls fsync; two ranks wait.</p>")
    assert got == (
        f'<p>Call <a class="g-word" href="{URL}#fsync" '
        'title="A call that &quot;waits&quot;.">fsync</a>. Each '
        f'<a class="g-word" href="{URL}#rank" title="A process.">rank</a> '
        "calls fsync; two ranks wait.</p>"
    )


def test_code_links_and_headings_stay_as_they_are() -> None:
    for content in (
        "<pre><code>fsync(rank)</code></pre>",
        '<a href="x">a rank</a>',
        '<h2 id="rank">The rank<a class="headerlink" href="#rank">#</a></h2>',
        "<details><summary>Which rank?</summary></details>",
        '<img alt="a rank">',
        "<p>local_rank, per-rank, ranking</p>",
    ):
        assert explained(content) == content
        # Negative control: right behind it the word is linked.
        assert explained(f"{content}<p>rank</p>").count("g-word") == 1


def test_every_word_has_a_definition_in_plain_text() -> None:
    text = (SITE / "glossary.md").read_text("utf-8")
    found = glossary_hover.definitions(text)
    assert glossary_hover.WORDS.keys() <= found.keys()
    for about, pages in found.values():
        assert about
        assert pages
        assert not re.search(r"[\[\]`]|\.md", about)
    # Negative control: an entry of another form is not read.
    assert glossary_hover.definitions("word\n:   About.") == {}


def test_a_page_that_explains_a_word_and_the_reference_are_left_alone() -> None:
    glossary = SimpleNamespace(url="glossary/")
    files = SimpleNamespace(get_file_from_path=lambda path: glossary)

    def of_page(source: str) -> str:
        url = source.removesuffix(".md") + "/"
        page = SimpleNamespace(file=SimpleNamespace(src_uri=source), url=url)
        return glossary_hover.on_page_content(
            "<p>fsync and PCIe</p>", page=page, config=None, files=files
        )

    linked = of_page("learn/single-gpu.md")
    assert linked.count("g-word") == 2
    assert 'href="../../glossary/#fsync"' in linked
    assert of_page("understand/checkpoint.md").count("g-word") == 1  # explains fsync
    assert "g-word" not in of_page("reference/api/dist.md") + of_page("glossary.md")
