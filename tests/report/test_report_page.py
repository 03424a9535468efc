"""The page in a real browser, as a file, without a network."""

import pytest
from pages import Page, make_run, write_films

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.slow
LIST = "#clip-list tbody tr:not([hidden])"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = make_run(tmp_path_factory.mktemp("run"))
    (made / "report/clips/seen_easy/case3_1.json").unlink()
    write_films(made, ["case2_1"], every=3)
    return made


@pytest.fixture(scope="module")
def page(folder):
    return Page(folder)


@pytest.fixture
def look(browser, folder, page):
    """Open the page; in the end nothing was loaded and nothing complained."""
    contexts = []

    def opened(fragment="", width=1280, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        tab = context.new_page()
        tab.complaints, tab.requests = [], []
        tab.on("console", lambda message: tab.complaints.append(message.text))
        tab.on("pageerror", lambda error: tab.complaints.append(str(error)))
        tab.on("request", lambda request: tab.requests.append(request.url))
        tab.goto(f"file://{folder / 'report.html'}{fragment}")
        contexts.append((context, tab))
        return tab

    yield opened
    for context, tab in contexts:
        assert tab.complaints == []
        assert not [url for url in tab.requests if not url.startswith(("file:", "data:"))]
        context.close()


def is_open(tab, name):
    """Wait for a clip; conditions in JavaScript would be refused by the page's policy."""
    playwright.expect(tab.locator("#clip-name")).to_have_text(f"seen_easy/{name}")


def open_clip(tab, name):
    tab.get_by_role("link", name=name, exact=True).click()
    is_open(tab, name)


def shown(tab):
    """What the parts of the player say of themselves, and the grey of the picture's corner."""
    return tab.evaluate(
        """() => {
        const copy = new OffscreenCanvas(4, 4).getContext("2d", { willReadFrequently: true });
        copy.drawImage(document.getElementById("picture"), 0, 0);
        return {
          text: document.getElementById("readout").textContent,
          scrubber: Number(document.getElementById("scrubber").value),
          picture: document.getElementById("picture").dataset.index,
          grey: copy.getImageData(2, 2, 1, 1).data[0],
          outlines: document.getElementById("outlines").dataset.index,
          truth: document.querySelector('[data-of="truth"]')?.getAttribute("d"),
          prediction: document.querySelector('[data-of="of prediction"]')?.getAttribute("d"),
          cursor: document.getElementById("cursor").dataset.index,
          x: Number(document.getElementById("cursor").getAttribute("x1")),
          hash: location.hash,
        };}"""
    )


def path_of(outlines):
    """Outlines as the page draws them, in the middles of pixels."""
    parts = []
    for points in outlines:
        pairs = list(zip(points[::2], points[1::2], strict=True))
        parts.append("M" + "L".join(f"{x + 0.5} {y + 0.5}" for x, y in pairs) + "Z")
    return "".join(parts)


def assert_all_at(tab, clip, place):
    """Picture, outlines, chart, text and scrubber are of one frame, that of the data."""
    frame = clip["film"]["frames"][place]
    index = frame["index"]
    now = shown(tab)
    assert now["scrubber"] == place
    assert now["picture"] == now["outlines"] == now["cursor"] == str(index)
    assert now["grey"] == pytest.approx(20 + 10 * index, abs=4)  # as the film was made
    assert now["truth"] == path_of(frame["truth"])
    assert now["prediction"] == path_of(frame["predictions"]["prediction"])
    dice = clip["dice"]["prediction"][index]
    assert f"Frame {index} (0 to 19) · {clip['frames'][index]} · dice_at_0.5" in now["text"]
    assert (f"{dice:.4f}" if dice is not None else "dice_at_0.5 -") in now["text"]
    assert now["hash"] == f"#clip=seen_easy/{clip['clip']}&frame={index}"
    return now


def test_everything_of_a_frame_moves_together(look, page):
    tab = look()
    open_clip(tab, "case1_1")
    clip = page.clip("case1_1")
    first = assert_all_at(tab, clip, 0)
    tab.locator("#scrubber").fill("7")
    moved = assert_all_at(tab, clip, 7)
    chart = tab.locator("#time-chart").evaluate("e => e.viewBox.baseVal.width")
    assert moved["x"] - first["x"] == pytest.approx(7 / 20 * (chart - 50), abs=0.01)
    for key, place in (("ArrowRight", 8), ("ArrowLeft", 7), ("End", 19), ("Home", 0)):
        tab.locator("#stage").press(key)
        assert_all_at(tab, clip, place)
    tab.locator("#scrubber").press("ArrowRight")  # the browser's own key, once
    assert_all_at(tab, clip, 1)
    box = tab.locator("#time-chart").bounding_box()
    tab.mouse.click(box["x"] + moved["x"] / chart * box["width"], box["y"] + 40)
    assert_all_at(tab, clip, 7)
    tab.get_by_role("button", name="4 to 11: dice_at_0.5 below 0.5").click()
    assert_all_at(tab, clip, 4)


def test_it_plays_and_pauses(look, page):
    tab = look("#clip=seen_easy/case1_1&frame=5")
    tab.wait_for_selector("#player-body:not([hidden])")
    tab.locator("#speed").select_option("5")
    tab.locator("#stage").press(" ")
    playwright.expect(tab.locator("#scrubber")).not_to_have_value("5")
    tab.get_by_role("button", name="Pause").click()
    place = shown(tab)["scrubber"]
    assert_all_at(tab, page.clip("case1_1"), place)
    tab.wait_for_timeout(500)  # two frames, if it had not stopped
    assert shown(tab)["scrubber"] == place


def test_thinned_clips_and_clips_without_pictures(look, page):
    tab = look("#clip=seen_easy/case2_1&frame=11")
    tab.wait_for_selector("#player-body:not([hidden])")
    now = assert_all_at(tab, page.clip("case2_1"), 4)  # 12 is the nearest of every third
    assert "pictures of 1 frame in 3" in now["text"]
    tab.locator("#stage").press("PageDown")  # by Dice, case3_1 comes next
    is_open(tab, "case3_1")
    assert not tab.locator("#screen").is_visible()
    assert "No pictures of this clip" in tab.locator("#no-picture").text_content()
    tab.locator("#stage").press("ArrowRight")
    now = shown(tab)
    dice = page.clip("case3_1")["dice"]["prediction"][1]
    assert now["cursor"] == "1" and f"dice_at_0.5 {dice:.4f}" in now["text"]
    tab.get_by_role("button", name="Previous clip").click()
    is_open(tab, "case2_1")


def test_an_unknown_clip_in_a_link_is_told(look):
    tab = look("#clip=seen_easy/nobody&frame=3")
    assert tab.get_by_text("There is no clip seen_easy/nobody").is_visible()


def test_outlines_can_be_left_out(look):
    tab = look("#clip=seen_easy/case1_1&frame=5")
    tab.wait_for_selector("#player-body:not([hidden])")
    for label, selector in (
        ("ground truth", '[data-of="truth"]'),
        ("prediction", '[data-of="of prediction"]'),
        ("tint of the marked area", ".tint"),
    ):
        assert tab.locator(f"#outlines {selector}").count() == 1
        tab.get_by_label(label).uncheck()
        assert tab.locator(f"#outlines {selector}").count() == 0
        tab.get_by_label(label).check()
        assert tab.locator(f"#outlines {selector}").count() == 1


def test_the_list_is_sorted_and_searched_by_keyboard(look, page):
    tab = look()
    header = tab.locator("#clip-list").get_by_role("columnheader", name="dice_at_0.5")
    names = [clip["clip"] for clip in page.clips]

    def listed():
        return tab.locator(f"{LIST} th").all_text_contents()

    assert listed() == names
    header.get_by_role("button").press("Enter")
    assert header.get_attribute("aria-sort") == "ascending" and listed() == names
    header.get_by_role("button").press(" ")
    assert header.get_attribute("aria-sort") == "descending" and listed() == names[::-1]
    tab.get_by_label("Search").fill("SE2_")
    assert listed() == ["case2_1"]
    assert tab.locator("#found").text_content() == "1 of 3 clips"
    tab.get_by_role("link", name="case2_1").press("Enter")
    tab.wait_for_selector("#player-body:not([hidden])")
    assert tab.evaluate("document.activeElement.id") == "stage"
    assert tab.get_by_role("button", name="Next clip").is_disabled()  # the others are not listed


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_wide_and_narrow_light_and_dark(look, width, scheme, tmp_path):
    tab = look("#clip=seen_easy/case1_1&frame=5", width, scheme)
    tab.wait_for_selector("#player-body:not([hidden])")
    for summary in tab.locator("summary").all():
        summary.click()
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    back = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    light, dark = "rgb(246, 247, 249)", "rgb(20, 23, 26)"
    assert back == (light if scheme == "light" else dark)
    other = "dark" if scheme == "light" else "light"
    tab.get_by_label("Look").select_option(other)
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") != back


def test_it_can_be_used_without_seeing_it(look):
    tab = look("#clip=seen_easy/case1_1&frame=5")
    tab.wait_for_selector("#player-body:not([hidden])")
    unnamed = tab.evaluate(
        """() => [...document.querySelectorAll(
              "input, select, button, a, [role=img], [tabindex='0']")]
          .filter((e) => !(e.labels?.length || e.getAttribute("aria-label")
            || e.getAttribute("aria-labelledby") || e.textContent.trim() || e.tagName === "PRE"))
          .map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert unnamed == []
    assert tab.locator("main, nav, header, footer").count() == 4
    assert tab.locator("h1").count() == 1
    ids = tab.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    assert tab.locator("th:not([scope])").count() == 0
    assert tab.evaluate("document.documentElement.lang") == "en"
    fresh = look()
    fresh.keyboard.press("Tab")
    assert fresh.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert fresh.locator(".skip").bounding_box()["x"] >= 0
    fresh.keyboard.press("Enter")
    assert fresh.evaluate("document.activeElement.id") == "content"
