"""The pages in a real browser: readable on a phone and in the dark, accessible, inert; marks typed there are saved."""

from __future__ import annotations

import pytest

from exercises.grading import feedback, marks, marks_page, summary
from exercises.grading.names import shown
from tests.exercises.grading.made import (
    ATTACKS,
    CRITERIA,
    PROBLEM,
    PROBLEMS,
    made_cell,
    made_result,
    solution_cells,
)

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """An OUT folder with honest and hostile submissions."""
    folder = tmp_path_factory.mktemp("out")
    verdicts = ("right", "constant factor", "NotImplementedError", "ValueError")
    results = [
        made_result(f"student{i:02}", verdicts=verdicts[: 1 + i % 4], code=solution_cells()) for i in range(8)
    ]
    for i, attack in enumerate(ATTACKS.values()):
        text = attack.encode("utf-8", "replace").decode()
        results.append(
            made_result(
                shown(f"{i}{text[:60]}"),
                answer=text,
                cells=[made_cell(text, text)],
                status="stopped",
                reason=text,
            )
        )
    results.sort(key=lambda result: result.student)
    entered = marks.merge(folder, results, PROBLEMS)
    for result in results:
        feedback.write(folder, result, PROBLEM, entered[result.student, result.problem])
    summary.write(folder, results, PROBLEMS, entered, ["Nothing handed in by 1 on the roster: student99"])
    return folder


def _pages(out) -> dict:
    hostile = next(
        path for path in sorted(out.glob("feedback/*/*.html")) if "student0" not in path.parent.name
    )
    return {
        "feedback": out / "feedback" / "student03" / f"{PROBLEM.slug}.html",
        "hostile feedback": hostile,
        "summary": out / summary.NAME,
        "marks": out / "marks" / f"{PROBLEM.slug}.html",
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["feedback", "hostile feedback", "summary", "marks"])
def test_page_is_accessible_and_fits_a_phone(out, name, scheme, open_page, axe):
    seen = open_page(_pages(out)[name].as_uri(), width=360, height=700, color_scheme=scheme, bypass_csp=True)
    seen.page.evaluate(axe)
    found = seen.page.evaluate("rules => axe.run({runOnly: rules})", RULES)
    assert [(fault["id"], fault["nodes"][0]["html"][:200]) for fault in found["violations"]] == []
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 360
    assert seen.faults == []


@pytest.mark.parametrize("name", ["feedback", "hostile feedback", "summary", "marks"])
def test_policy_holds_in_the_browser(out, name, open_page):
    """No dialog, no request and no fault; a script that gets into the page all the same does not run."""
    seen = open_page(_pages(out)[name].as_uri())
    dialogs = []
    seen.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    assert seen.faults == []
    seen.page.evaluate(
        """() => {
        const script = document.createElement("script");
        script.textContent = "document.title = 'broken'";
        document.body.append(script);
        document.body.insertAdjacentHTML("beforeend", "<img src=x onerror=\\"document.title = 'broken'\\">");
        }"""
    )
    seen.page.wait_for_timeout(100)
    assert seen.page.title() != "broken" and dialogs == []


def _without_picker(page) -> None:
    page.evaluate("() => { window.showSaveFilePicker = undefined; }")


def _saved(page, path) -> None:
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Save").click()
    waiting.value.save_as(path)


def test_marks_typed_on_the_page_are_those_of_the_next_run(tmp_path, open_page):
    names = {
        "student01": "An answer.",
        "=danger": "</div><script>1</script>",
        "'x": '"quoted", words',
        "gone": "Here.",
    }
    results = [made_result(name, answer=answer) for name, answer in names.items()]
    marks.merge(tmp_path, results, PROBLEMS)
    results.pop()
    marks.merge(tmp_path, results, PROBLEMS)
    file = tmp_path / "marks" / f"{PROBLEM.slug}.csv"
    page = open_page(file.with_suffix(".html").as_uri()).page
    _without_picker(page)
    rows = page.locator(".mark")
    assert rows.count() == 4 * len(CRITERIA)
    for i in range(rows.count()):
        rows.nth(i).locator("input").fill("0.25")
        rows.nth(i).locator("textarea").fill('= "well done", or\nnearly')
    assert "16 of 16 marks entered, not saved yet" in page.locator("#state").text_content()
    _saved(page, file)
    assert "16 of 16 marks entered" == page.locator("#state").text_content()

    merged = marks.merge(tmp_path, results, PROBLEMS)
    assert {student for student, _ in merged} == set(names) - {"gone"}
    for mine in merged.values():
        assert mine.points == 0.25 * len(CRITERIA) and mine.missing == 0
        assert {mark.comment for mark in mine.rows} == {'= "well done", or\nnearly'}
    assert "gone" in file.read_text("utf-8")


def test_saving_without_typing_changes_no_byte(out, tmp_path, open_page):
    file = out / "marks" / f"{PROBLEM.slug}.csv"
    page = open_page(file.with_suffix(".html").as_uri()).page
    _without_picker(page)
    _saved(page, tmp_path / "saved.csv")
    assert (tmp_path / "saved.csv").read_bytes() == file.read_bytes()


def test_a_number_that_is_too_large_is_not_saved(out, open_page):
    page = open_page((out / "marks" / f"{PROBLEM.slug}.html").as_uri()).page
    _without_picker(page)
    page.locator(".mark input").first.fill("7")
    page.get_by_role("button", name="Save").click()
    assert "not saved yet" in page.locator("#state").text_content()
    assert page.evaluate("document.activeElement === document.querySelector('.mark input')")


def test_typing_on_a_changed_answer_says_that_the_mark_is_for_the_present_one(tmp_path, open_page):
    marks.merge(tmp_path, [made_result(answer="First.")], PROBLEMS)
    file = tmp_path / "marks" / f"{PROBLEM.slug}.csv"
    file.write_text(file.read_text("utf-8").replace(",1,,,", ",1,1,,"), "utf-8")
    second = [made_result(answer="Second.")]
    assert marks.merge(tmp_path, second, PROBLEMS)["student01", PROBLEM.slug].changed
    page = open_page(file.with_suffix(".html").as_uri()).page
    _without_picker(page)
    for i in range(len(CRITERIA)):
        page.locator(".mark input").nth(i).fill("0.5")
    _saved(page, file)
    mine = marks.merge(tmp_path, second, PROBLEMS)["student01", PROBLEM.slug]
    assert mine.points == 2 and not mine.changed


def test_only_what_is_not_marked_can_be_shown(tmp_path, open_page):
    results = [made_result(f"student{i}") for i in range(3)]
    marks.merge(tmp_path, results, PROBLEMS)
    file = tmp_path / "marks" / f"{PROBLEM.slug}.csv"
    lines = file.read_text("utf-8").splitlines(True)
    lines[1:5] = [line.replace(",1,,,", ",1,1,,") for line in lines[1:5]]
    file.write_text("".join(lines), "utf-8")
    marks.merge(tmp_path, results, PROBLEMS)
    page = open_page(file.with_suffix(".html").as_uri()).page
    assert page.locator("article:visible").count() == 3
    page.get_by_label("only what is not marked").check()
    assert page.locator("article:visible").count() == 2


def _formulas(tmp_path, open_page, **answers):
    """The page with every answer's formulas set."""
    if not marks_page.MATHJAX.is_file():
        pytest.skip("npm has not installed MathJax")
    marks.merge(tmp_path, [made_result(name, answer=text) for name, text in answers.items()], PROBLEMS)
    seen = open_page((tmp_path / "marks" / f"{PROBLEM.slug}.html").as_uri())
    for answer in seen.page.locator("article .tex").all():
        answer.scroll_into_view_if_needed()
        answer.locator("mjx-container").first.wait_for(timeout=60_000)
    return seen


def test_formulas_are_set(tmp_path, open_page):
    seen = _formulas(
        tmp_path, open_page, student01=r"The gap is $\frac12\|H\|$, and $$\sum_j a_j^2 = 1.$$ It costs \$5."
    )
    assert seen.page.locator("mjx-container").count() == 2
    assert "It costs $5." in seen.page.locator(".tex").last.inner_text()
    assert seen.faults == []


def test_macros_of_one_answer_do_not_reach_another(tmp_path, open_page):
    redefined = r"$\renewcommand{\frac}[2]{WRONG}\def\sum{WRONG}\newcommand{\mine}{x} \mine$"
    seen = _formulas(tmp_path, open_page, student01=redefined, student02=r"$\frac{1}{2}\sum_j \mine$")
    second = seen.page.locator("article .tex").nth(1).locator("mjx-assistive-mml").first.inner_html()
    assert "mfrac" in second and "∑" in second and "WRONG" not in second and "<mi>x</mi>" not in second


@pytest.mark.parametrize(
    "tex",
    [
        r"\href{javascript:alert(1)}{x}",
        r"\require{html}\href{javascript:alert(1)}{x}\style{position:fixed;inset:0}{x}",
        r"\def\x{\x\x}\x",
        r"\rule{99999px}{99999px} \hspace{-9999px} x",
        r"\unicode{x3c}script\unicode{x3e}",
        r"\text{</div><script>document.title = 'broken'</script>}",
        r"\mmlToken{mi}[href='javascript:alert(1)' style='position:fixed']{x}",
        "{" * 5000,
    ],
)
def test_hostile_formulas_stay_in_their_box_and_do_nothing(tmp_path, open_page, tex):
    seen = _formulas(tmp_path, open_page, student01=f"$x$ ${tex}$", student02="$y$")
    page = seen.page
    assert page.title() == f"Marks: {PROBLEM.title}"
    assert page.locator("main script, .tex a, .tex [style*=fixed]").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    boxes = [box.bounding_box() for box in page.locator("article .tex").all()]
    assert all(box["height"] <= 45 * 16 + 1 for box in boxes)
    assert [fault for fault in seen.faults if "external" in fault or "exception" in fault] == []
