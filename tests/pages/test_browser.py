"""A real browser walks through all pages; any console error or exception box fails the walk."""

import re

import pytest
from live import PATIENCE_MS, ROOT, chromium, needs_browser, served, settled, visit, watched

pytestmark = needs_browser


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The app on a free port with an empty cache."""
    with served(tmp_path_factory.mktemp("cache"), tmp_path_factory.mktemp("server") / "log") as server:
        yield server.address


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(params=[1440, pytest.param(800, marks=pytest.mark.full)])
def page(browser, request):
    page = watched(browser.new_page(viewport={"width": request.param, "height": 1000}))
    yield page
    page.close()


@pytest.mark.full
def test_a_link_straight_to_a_page_opens_it_in_the_whole_app(address, page):
    """The first page that a new server shows: before it, Streamlit knows nothing of the app's navigation."""
    corpus = ROOT / "neuronxa_core" / "demo" / "corpus"
    page.goto(f"{address}/overlap?corpus={corpus}&languages=spa_Latn&sentences=7")
    page.get_by_role("heading", name="Overlap", exact=True).wait_for()
    page.get_by_text("2 of 2 languages of this choice are not computed yet").wait_for()
    settled(page)
    assert page.get_by_test_id("stTopNavLink").count() == 8
    assert page.strangers == []


def test_from_run_to_alignment(address, page):
    sentences = page.viewport_size["width"] // 80
    corpus = ROOT / "neuronxa_core" / "demo" / "corpus"
    page.goto(f"{address}/?corpus={corpus}&languages=spa_Latn,arb_Arab,jpn_Jpan&sentences={sentences}")
    page.get_by_text("4 of 4 languages of this choice are not computed yet").wait_for()
    visit(page, "Run")
    page.get_by_text("0 of 4 languages cached").wait_for()
    page.get_by_role("button", name="Compute").click()
    page.get_by_text("4 of 4 languages cached").wait_for()
    page.get_by_text("Everything that this choice needs is cached").wait_for()
    settled(page)
    page.get_by_role("button", name="Show alignment").click()
    page.get_by_role("heading", name="Alignment", exact=True).wait_for()
    page.locator("[data-testid=stVegaLiteChart] .marks").first.wait_for()
    settled(page)
    assert "languages=spa_Latn" in page.url

    for view in ("Layers", "Sentences", "All pairs", "Representations", "Table", "Sentences"):
        page.get_by_role("radio", name=view, exact=True).or_(
            page.get_by_test_id("stMain").get_by_role("button", name=view, exact=True)
        ).first.click()
        shown = "stDataFrame" if view == "Table" else "stVegaLiteChart"
        page.locator(f"[data-testid={shown}]").first.wait_for()
        settled(page)

    before = page.locator("[data-testid=stMetric]").inner_text()
    page.get_by_role("slider").focus()
    page.keyboard.press("Home")
    page.get_by_text("NASCA at layer 0").wait_for()
    assert page.locator("[data-testid=stMetric]").inner_text() != before
    canvas = page.locator("[data-testid=stVegaLiteChart] .marks").first
    box = canvas.bounding_box()
    # beside the diagonal, then a mark on it: the first and the last translation have one
    beside = {"x": box["width"] * 0.8, "y": box["height"] * 0.45}
    canvas.hover(position=beside)
    page.wait_for_timeout(300)
    canvas.click(position=beside)
    page.get_by_text("The cell that was clicked").wait_for()
    top_left = {"x": box["width"] * 0.085 + 280 / sentences, "y": box["height"] * 0.135 + 210 / sentences}
    canvas.hover(position=top_left)
    page.wait_for_timeout(300)
    canvas.click(position=top_left)
    page.get_by_text("Sentence 1", exact=True).wait_for()
    settled(page)
    assert page.errors == []
    assert page.strangers == []


@pytest.mark.full
def test_a_link_opens_the_same_view(address, page):
    page.goto(f"{address}/?languages=spa_Latn,arb_Arab,jpn_Jpan&sentences=15&state=emb&view=Table")
    page.locator("[data-testid=stDataFrame]").first.wait_for()
    settled(page)
    page.get_by_text("15 sentences, 3 languages against English").wait_for()
    assert page.errors == []


def choose_view(page, name):
    page.get_by_role("radio", name=name, exact=True).or_(
        page.get_by_test_id("stMain").get_by_role("button", name=name, exact=True)
    ).first.click()


@pytest.mark.full
def test_from_overlap_to_the_microscope(address, page):
    page.goto(f"{address}/overlap?languages=spa_Latn,arb_Arab,tha_Thai&sentences=15")
    chart = page.locator("[data-testid=stVegaLiteChart] .marks").first
    chart.wait_for()
    page.get_by_text("3 languages against").wait_for()
    settled(page)
    box = chart.bounding_box()
    chart.click(position={"x": box["width"] * 0.9, "y": box["height"] * 0.2})
    page.get_by_text("that are active in both").wait_for()
    settled(page)

    page.get_by_role("button", name="Play the layers").click()
    page.wait_for_function("new URL(location).searchParams.get('overlap_layer') === '6'")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Play the layers").wait_for()
    settled(page)

    for view in ("By layer", "Translation-specific", "Shared core", "Ablation", "Summary", "Intersections"):
        choose_view(page, view)
        page.wait_for_function("view => new URL(location).searchParams.get('overlap_view') === view", arg=view)
        settled(page)
    chart.wait_for()
    bar = page.locator("[data-testid=stVegaLiteChart] .marks path[aria-roledescription=bar]").first
    bar.click()
    page.get_by_role("heading", name="Active in exactly").wait_for()
    settled(page)

    choose_view(page, "Language-specific")
    frame = page.locator("[data-testid=stDataFrame]").first
    frame.wait_for()
    settled(page)
    opens = page.get_by_role("button", name="Open neuron")
    for _ in range(5):  # a table that is just being laid out misses a click
        frame.click(position={"x": 12, "y": 52})
        page.wait_for_timeout(3000)
        settled(page)
        if opens.count():
            break
    opens.click()
    page.get_by_role("heading", name="Microscope", exact=True).wait_for()
    page.locator("div[lang=arb-Arab]").first.wait_for()
    settled(page)
    assert page.locator("div[lang=arb-Arab]").first.evaluate("e => getComputedStyle(e).direction") == "rtl"
    assert page.locator("div[lang=th] span[title]").first.get_attribute("title")
    page.locator("textarea").nth(0).fill("The file could not be opened.")
    page.locator("textarea").nth(1).fill("تعذر فتح الملف.")
    page.get_by_role("button", name="Read", exact=True).click()
    page.get_by_text("The neurons that are strongest in both").wait_for()
    settled(page)
    assert page.errors == []
    assert page.strangers == []


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A corpus of more languages than a matrix draws marks for: copies of the bundled ones under further codes."""
    folder = tmp_path_factory.mktemp("many")
    bundled = sorted((ROOT / "neuronxa_core" / "demo" / "corpus").glob("*_*.txt"))
    for k in range(66):
        lines = bundled[k % len(bundled)].read_text("utf-8").splitlines()[:4]
        name = bundled[k].name if k < len(bundled) else f"q{chr(97 + k // 26)}{chr(97 + k % 26)}_Latn.txt"
        (folder / name).write_text("\n".join(lines) + "\n", "utf-8")
    return folder


def tooltip_at(page, chart, x, y):
    """Move over a chart as a hand does; what the tooltip says at a place, in parts of its width and height."""
    box = chart.bounding_box()
    for short in (8, 4, 2, 1, 0):
        page.mouse.move(box["x"] + box["width"] * x - short, box["y"] + box["height"] * y)
        page.wait_for_timeout(100)
    return page.locator("#vg-tooltip-element.visible").inner_text()


@pytest.mark.full
def test_the_picture_of_many_languages_answers_the_pointer(address, page, many):
    page.goto(f"{address}/?corpus={many}&view=All+pairs")
    page.get_by_role("button", name="Compute them").or_(page.locator("[data-testid=stVegaLiteChart]")).first.wait_for()
    if page.get_by_role("button", name="Compute them").count():
        page.get_by_role("button", name="Compute them").click()
    page.get_by_text("65 languages against").wait_for(timeout=3 * PATIENCE_MS)
    chart = page.locator("[data-testid=stVegaLiteChart] canvas.marks").first
    chart.wait_for()
    settled(page)
    chart.scroll_into_view_if_needed()
    said = tooltip_at(page, chart, 0.6, 0.3)
    language, other = re.findall(r"\((\w+_\w+)\)|\b(q\w\w_Latn)", said)
    assert "NASCA" in said
    page.mouse.down()
    page.mouse.up()
    page.get_by_text("sentences aligned").wait_for()
    settled(page)
    chosen = [page.get_by_role("combobox", name=name).input_value() for name in ("Sentences of", "and")]
    assert ["".join(language) in chosen[0], "".join(other) in chosen[1]] == [True, True]
    assert page.errors == []


@pytest.mark.full
def test_downstream_takes_scores_from_three_sources(address, page, tmp_path):
    scores = tmp_path / "scores.csv"
    rows = ["language,xnli", "es,0.7", "ru,0.55", "ar,0.41", "th,0.33", "pt,0.66", "de,0.61", "tlh,0.1"]
    scores.write_text("\n".join(rows) + "\n", "utf-8")
    languages = "spa_Latn,rus_Cyrl,arb_Arab,tha_Thai,por_Latn,deu_Latn"
    page.goto(f"{address}/downstream?languages={languages}")
    page.get_by_text("6 languages against").wait_for(timeout=3 * PATIENCE_MS)
    settled(page)
    chart = page.locator("[data-testid=stVegaLiteChart] .marks").first
    button = page.get_by_role("button", name="Measure", exact=True)
    button.or_(chart).first.wait_for()
    if button.count():
        button.click()
    chart.wait_for()
    settled(page)
    point = page.locator("[data-testid=stVegaLiteChart] .marks path[aria-roledescription=circle]").first
    point.click()
    page.get_by_text("Excluded: ").wait_for()
    page.locator("[data-testid=stMetric]").filter(has_text="Languages").filter(has_text="5").wait_for()
    point.click()
    page.locator("[data-testid=stMetric]").filter(has_text="Languages").filter(has_text="6").wait_for()
    settled(page)

    page.get_by_text("Task scores", exact=True).first.click()
    choose_view(page, "File")
    page.get_by_role("textbox", name="File or folder").fill(str(scores))
    page.keyboard.press("Enter")
    chart.wait_for()
    settled(page)
    page.get_by_text("Task scores", exact=True).first.click()
    page.get_by_text("Columns · ").wait_for()
    page.get_by_text("6 languages with both").click()
    page.get_by_text("tlh").first.wait_for()

    choose_view(page, "Published")
    page.get_by_text("the alignment is that of demo").first.wait_for()
    settled(page)
    choose_view(page, "Report")
    page.get_by_role("button", name="Make the report").click()
    page.get_by_role("button", name="HTML").wait_for()
    settled(page)
    assert page.errors == []
    assert page.strangers == []


FIRST_SCREEN = {
    "": ("",),
    "alignment": ("view", "Ranking", "Layers", "Sentences", "All pairs", "Representations"),
    "overlap": ("overlap_view", "Matrix", "By layer", "Translation-specific", "Intersections", "Shared core"),
    "microscope": ("",),
    "downstream": ("downstream_view", "Scatter", "By layer", "Methods", "Sentences"),
}


@pytest.mark.full
def test_every_chart_begins_on_the_first_screen(address, browser):
    """At 1440 x 900 a view's chart begins above y = 380, whatever stands over it."""
    page = watched(browser.new_page(viewport={"width": 1440, "height": 900}))
    query = "languages=spa_Latn,rus_Cyrl,arb_Arab,tha_Thai,por_Latn,deu_Latn"
    page.goto(f"{address}/downstream?{query}")
    chart = page.locator("[data-testid=stVegaLiteChart] .marks").first
    button = page.get_by_role("button", name="Measure", exact=True)
    button.or_(chart).first.wait_for(timeout=2 * PATIENCE_MS)
    if button.count():
        button.click()
    chart.wait_for(timeout=2 * PATIENCE_MS)
    tops = {}
    for path, (parameter, *views) in FIRST_SCREEN.items():
        for view in views or ("",):
            page.goto(f"{address}/{path}?{query}" + (f"&{parameter}={view}" if view else ""))
            chart.wait_for()
            settled(page)
            tops[path, view] = round(chart.bounding_box()["y"])
    page.close()
    assert {where: top for where, top in tops.items() if top > 380} == {}
    assert page.errors == []
