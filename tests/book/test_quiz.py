"""Quizzes and predictions in a real browser, in print, and what authors are told when they mistype one."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from .conftest import ROOT, pages
from .small_book import small_page  # noqa: F401

CHAPTERS = [name for name in pages() if "/foundations/" in name]


@pytest.fixture
def small(small_page, open_page):  # noqa: F811
    return open_page(small_page.as_uri())


def asked(small, number: int):
    """(element, visible text of its result, its button)."""
    ask = small.page.locator(".ask").nth(number)
    return ask, lambda: ask.locator(".ask-result").inner_text(), ask.locator("button")


def test_quiz_gives_feedback_on_the_chosen_option_alone(small):
    ask, result, check = asked(small, 0)
    assert result() == ""
    ask.get_by_role("radio").nth(1).check()
    check.click()
    assert result().startswith("Not so. That is its variance.")
    ask.locator(".ask-result mjx-container[display=true]").wait_for()  # set when it comes into view
    ask.get_by_role("radio").nth(0).check()
    check.click()
    assert result().startswith("Right. It is an average of")
    assert "variance" not in result()


def test_quiz_with_several_right_options_wants_all_of_them(small):
    ask, result, check = asked(small, 1)
    boxes = ask.get_by_role("checkbox")
    boxes.nth(0).check()
    boxes.nth(1).check()
    check.click()
    assert result().startswith("Not yet: some option is missing or wrong.")
    assert "Right. An inner product." in result() and "Not so. Negative on the diagonal." in result()
    boxes.nth(1).uncheck()
    boxes.nth(2).check()
    check.click()
    assert result().startswith("All right options found.")
    assert "Negative" not in result()


def test_nothing_is_revealed_before_an_answer(small):
    for number in range(5):
        ask, result, button = asked(small, number)
        button.click()
        assert re.fullmatch(r"(Choose|Write) an answer first\.", result())
        assert ask.locator("[data-verdict]").count() == 0


def test_message_goes_when_an_answer_comes(small):
    ask, result, check = asked(small, 0)
    check.click()
    ask.get_by_role("radio").nth(0).check()
    check.click()
    assert "first." not in result()


def test_prediction_is_kept_beside_what_to_look_for(small):
    ask, result, commit = asked(small, 2)
    ask.get_by_role("radio").nth(0).check()
    commit.click()
    assert result().split("\n")[0] == "You predicted: It halves"
    assert "Look at the slope." in result()
    ask.get_by_role("radio").nth(1).check()
    commit.click()
    assert result().startswith("You predicted: It halves, then It falls by")
    assert ask.locator(".ask-result mjx-container").is_visible()


def test_prediction_in_numbers_is_committed_by_the_enter_key(small):
    ask, result, _ = asked(small, 3)
    field = ask.get_by_role("spinbutton", name="Your prediction")
    field.fill("12.5")
    field.press("Enter")
    assert result().startswith("You predicted: 12.5 steps")
    assert "Compare with the dashed line." in result()


def test_prediction_in_words_is_text_not_markup(small):
    ask, result, commit = asked(small, 4)
    ask.get_by_role("textbox").fill("<img src=x onerror=alert(1)> & more")
    commit.click()
    assert result().startswith("You predicted: <img src=x onerror=alert(1)> & more")
    assert ask.locator("img").count() == 0


def test_quiz_works_by_keyboard_alone(small):
    ask, result, _ = asked(small, 0)
    ask.get_by_role("radio").nth(0).focus()
    small.page.keyboard.press("ArrowDown")
    small.page.keyboard.press("Tab")
    while small.page.evaluate("document.activeElement.matches('mjx-container')"):  # past formulas
        small.page.keyboard.press("Tab")
    small.page.keyboard.press("Enter")
    assert result().startswith("Not so.")


def test_questions_are_groups_with_names_and_results_are_announced(small):
    for ask in small.page.locator(".ask").all():
        legend = ask.locator("legend").inner_text()
        assert legend.strip().endswith("?")
        assert ask.get_by_role("group").count() == 1
        assert ask.locator("[aria-live=polite]").count() == 1
    names = small.page.eval_on_selector_all(".ask input[name]", "inputs => inputs.map(i => i.name)")
    assert len(set(names)) == 3, "one name a question with choices"


def test_axe_finds_no_fault_before_and_after_the_answers(small, axe):
    small.page.evaluate(axe)
    for scheme in ("light", "dark"):
        small.page.emulate_media(color_scheme=scheme)
        small.page.wait_for_function("s => document.documentElement.dataset.theme === s", arg=scheme)
        found = small.page.evaluate("axe.run('.ask')")
        assert found["passes"]
        assert found["violations"] == [], scheme
        answer_all(small.page)


def answer_all(page) -> None:
    for ask in page.locator(".ask").all():
        for field in ask.locator("input").all():
            field.fill("3") if field.get_attribute("type") in ("text", "number") else field.check()
        ask.locator("button").click()


def test_phone_needs_no_horizontal_scroll(small_page, open_page):  # noqa: F811
    seen = open_page(small_page.as_uri(), width=390, height=844, is_mobile=True)
    right = seen.page.eval_on_selector_all(
        ".ask *", "parts => Math.max(...parts.map(part => part.getBoundingClientRect().right))"
    )
    assert 300 < right <= 390


def test_without_scripts_the_answers_are_behind_a_disclosure(small_page, browser):  # noqa: F811
    page = browser.new_page(java_script_enabled=False)
    page.goto(small_page.as_uri())
    ask = page.locator(".ask").first
    assert not ask.locator("button").is_visible()
    assert not ask.locator(".ask-answer").first.is_visible()
    ask.locator("summary").click()
    assert ask.locator(".ask-answer").first.is_visible()
    assert "Right. It is an average" in ask.locator(".ask-answer").first.inner_text()
    page.close()


# Authors


def sphinx(folder, builder: str, pages: dict[str, str], *flags: str):
    """Build pages with the extension alone; the process and the output folder."""
    source, out = folder / "source", folder / builder
    source.mkdir(exist_ok=True)
    (source / "conf.py").write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT / 'book' / '_ext')!r})\n"
        "extensions = ['myst_parser', 'quiz']\nmyst_enable_extensions = ['dollarmath']\n"
    )
    for name, text in pages.items():
        (source / f"{name}.md").write_text("# Page\n\n" + text)
    command = [sys.executable, "-m", "sphinx", "-q", *flags, "-b", builder, str(source), str(out)]
    return subprocess.run(command, capture_output=True, text=True), out


GOOD = r"""
```{quiz}
What is $2 + 2$?

- [x] $4$
  => By counting.
- [ ] Five
  => Off by one.
```

```{predict}
How many?

- few
- many

=> Count.
```
"""


@pytest.mark.parametrize(("builder", "page"), [("text", "index.txt"), ("latex", "*.tex")])
def test_print_holds_question_options_and_answers(tmp_path, builder, page):
    done, out = sphinx(tmp_path, builder, {"index": GOOD}, "-W")
    assert done.returncode == 0, done.stderr
    words = next(out.glob(page)).read_text()
    places = [
        words.find(part) for part in ("What is", "Five", "By counting.", "Off by one.", "few", "Count.")
    ]
    assert places == sorted(places) and -1 not in places
    assert "fieldset" not in words


MISTAKES = [
    ("```{quiz}\nWhat?\n\n- [x] one\n  => yes\n```", "at least two options"),
    ("```{quiz}\nWhat?\n\n- one\n  => yes\n- two\n  => no\n```", r"each '- \[x\] ...' or '- \[ \] ...'"),
    ("```{quiz}\nWhat?\n\n- [x] one\n- [ ] two\n  => no\n```", "every option needs feedback"),
    ("```{quiz}\nWhat?\n\n- [ ] one\n  => n\n- [ ] two\n  => n\n```", "at least one right option"),
    ("```{quiz}\n- [x] one\n  => y\n- [ ] two\n  => n\n```", "begin with a paragraph"),
    ("```{quiz}\nWhat?\n\n- [x] one\n=> y\n- [ ] two\n  => n\n```", "at least two options"),
    ("```{quiz}\nWhat?\n\n- [x] one\nmore\n  => y\n- [ ] two\n  => n\n```", "indent what belongs"),
    ("```{predict}\nWhat?\n\n- one\n- two\n```", "say what to look for"),
    ("```{predict}\nWhat?\n\n- one\n\n=> Look.\n```", "two or more choices"),
    ("```{predict}\nWhat?\n\n- [x] one\n- [ ] two\n\n=> Look.\n```", "without marks"),
    ("```{predict}\n:answer: number\nWhat?\n\n- one\n- two\n\n=> Look.\n```", "leave nothing to write"),
]


def test_mistyped_directive_is_an_error_that_says_what_is_missing(tmp_path):
    pages = {f"page{number}": text for number, (text, _) in enumerate(MISTAKES)}
    done, _ = sphinx(tmp_path, "dummy", {"index": "Nothing.", **pages})
    for number, (_, complaint) in enumerate(MISTAKES):
        said = re.search(rf"page{number}\.md:\d+: .*({complaint})", done.stderr)
        assert said, (number, complaint, done.stderr)


# The course's own pages


@pytest.mark.parametrize("name", CHAPTERS)
def test_chapter_asks_for_predictions_and_closes_with_a_quiz(name, built_book, open_page):
    seen = open_page((built_book / f"{name}.html").as_uri())
    assert seen.page.locator(".ask-predict").count() >= 1
    assert seen.page.locator(".ask-quiz").count() >= 1
    seen.set_all_formulas()  # so that nothing moves under the pointer
    answer_all(seen.page)
    for ask in seen.page.locator(".ask").all():
        assert ask.locator(".ask-result .ask-answer:visible").count() >= 1
