"""Proofs for distrinews.data.cleaning: quirks go, ordinary text stays."""

from __future__ import annotations

import csv
import gzip
import re
from itertools import permutations
from pathlib import Path

import pytest

from distrinews.data.cleaning import RULES, Rule, repair

TRAIN = Path(__file__).parents[1].parent / "shared" / "data" / "ag_news/train.csv.gz"

# What the data set's own notes call quirks; written here anew, not taken from RULES.
QUIRKS = {
    "backslash": re.compile(r"\\"),
    "apostrophe": re.compile(r"#39;"),
    "quotation mark": re.compile(r"\bquot;"),
    "ampersand": re.compile(r"\bamp;"),
    "dollar": re.compile(r"#36;"),
    "other numbered character": re.compile(r"#\d{2,5};"),
    "angle bracket": re.compile(r"&[lg]t;"),
    "doubled blank": re.compile("  "),
    "leading blank": re.compile("^ "),
}

ORDINARY = [
    "Shares rose $1.50, or 3 percent, to $48",
    "AT&T and S&P agree; R&D follows",
    "C# and F# are languages",
    "Serena is #1; her sister is #12; both won",
    "It is real; the range; in part; the phone; and a pound; models; it ends",
    "Profit up; sales down: 5 < 6 > 4",
    "He said \"no\" and 'yes' & left...",
    "Zoë's café — “open”",
    "a < b and <b>this</b>",
]


@pytest.fixture(scope="module")
def real_texts() -> list[str]:
    if not TRAIN.exists():
        pytest.skip(f"needs the real rows in {TRAIN}")
    with gzip.open(TRAIN, "rt", encoding="utf-8", newline="") as file:
        texts = [f"{title} {text}" for _, title, text in csv.reader(file)]
    assert len(texts) == 46_414
    return texts[::4]  # WHY a fourth: 11,604 rows show each quirk and take a second


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_rule_repairs_its_own_example(rule: Rule) -> None:
    assert repair(rule.before) == rule.after


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_no_rule_is_superfluous(rule: Rule) -> None:
    """Negative control: without its rule, each example stays wrong."""
    text = rule.before
    for other in RULES:
        if other is not rule:
            text = other.pattern.sub(other.replacement, text)
    # "markup" would also do for "markup before punctuation", but for one blank.
    assert text.strip() != rule.after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("It #39;s here", "It's here"),
        ("said  #39;yes #39; to", "said 'yes' to"),
        ("a  quot;hit quot; album", 'a "hit" album'),
        ("quot;Hit quot; album", '"Hit" album'),
        ("AT amp;T, Johnson  amp; Johnson", "AT&T, Johnson & Johnson"),
        ("won  #36;5 million", "won $5 million"),
        (r"won \$5 million", "won $5 million"),
        ("a #151;b", "a\u2014b"),  # cp1252, as browsers read it
        ("a #x2014;b", "a\u2014b"),
        ("S #038;P", "S&P"),
        ("near exceed nbsp;budgets", "near exceed budgets"),
        ("&quot;fine&quot; &amp; well", '"fine" & well'),
        ("cited &lt;cite&gt;Playboy&lt;/cite&gt; model", "cited Playboy model"),
        ('Ltd.&lt;A HREF="http://a.b/c?d=e f=g"&gt;X.O&lt;/A&gt;, it', "Ltd. X.O, it"),
        ("says.&lt;br/&gt;What sold", "says. What sold"),
        (
            r"story.\&lt;FONT size='-2'\ color='#666666'&gt;&lt;B&gt;-AP&lt;/B&gt;",
            "story. -AP",
        ),
        (r"one\two\\three", "one two three"),
        ("5 &lt; 6", "5 < 6"),
        ("  a   b\n c ", "a b c"),
        (" amp;lt;b amp;gt;x", "x"),  # escaped twice
    ],
)
def test_a_quirk_becomes_what_its_author_wrote(before: str, after: str) -> None:
    assert repair(before) == after


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert repair(text) == text


@pytest.mark.parametrize("text", ["&lt;b&gt;", " &lt;p&gt; ", " nbsp;&lt;A B&gt;"])
def test_a_text_with_letters_never_becomes_empty(text: str) -> None:
    assert any(map(str.isalpha, repair(text)))


@pytest.mark.parametrize("text", ["", " ", "\\", "\\ \\"])
def test_a_text_without_letters_may_become_empty(text: str) -> None:
    assert not repair(text)


def test_repairing_twice_changes_nothing_even_for_quirks_in_any_order() -> None:
    quirks = ["a", " amp;", "lt;", "b", "&gt;", r"\$", " #39;", "  "]
    chosen = list(permutations(quirks, 5))
    assert len(chosen) == 6720
    for order in chosen[::3]:
        once = repair("".join(order))
        assert repair(once) == once, order


def test_one_pass_over_the_rules_would_not_be_enough() -> None:
    """Negative control: the quirks above do build texts that need a second pass."""
    text = "a amp;lt;b amp;gt;c"
    for rule in RULES:
        text = rule.pattern.sub(rule.replacement, text)
    assert text != repair("a amp;lt;b amp;gt;c") == "a c"


def test_a_long_row_of_open_brackets_takes_no_time() -> None:
    text = "&lt;a " * 20_000 + "\\" * 20_000  # seconds, if the search were quadratic
    assert repair(text).startswith("<a <a")


def test_real_rows_hold_no_quirk_after_repair(
    real_texts: list[str], record_property: pytest.RecordProperty
) -> None:
    repaired = [repair(text) for text in real_texts]
    for name, quirk in QUIRKS.items():
        before = sum(bool(quirk.search(text)) for text in real_texts)
        after = sum(bool(quirk.search(text)) for text in repaired)
        record_property(name, f"{before} rows before, {after} after")
        # Negative control in the same breath: the search does find them before.
        assert before >= (0 if name == "leading blank" else 100), name
        assert after == 0, name
    assert all(repaired)
    assert repaired == [repair(text) for text in repaired]


def test_repair_takes_away_no_word_from_real_rows(real_texts: list[str]) -> None:
    """What a text loses is markup, entity names and blanks, never a word."""
    # WHY three in a hundred: rows with a link lose the words of its address.
    markup = re.compile(r"&lt;.*?&gt;", re.DOTALL)
    entity = re.compile(r"(quot|amp|nbsp|hellip|#x?\w+|[lr]squo|[a-z]+dash|[lg]t);")
    checked = 0
    for text in real_texts:
        if "eacute" in text or "circ;" in text or "pound;" in text:
            continue
        plain = entity.sub(" ", markup.sub(" ", text))
        words = re.findall(r"[A-Za-z0-9]+", plain)
        left = re.findall(r"[A-Za-z0-9]+", repair(text))
        if "&lt;" in text and words != left:
            continue  # a bracket that is no tag
        assert words == left
        checked += 1
    assert checked > 0.97 * len(real_texts)
