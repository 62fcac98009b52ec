"""The rating page in a real Chromium, without network: rate, reload, go on, export, score."""

import json

import browser
import pytest

LONG = "Donaudampfschifffahrtsgesellschaft" * 8


class Visit(browser.Visit):
    """A rater."""

    def begin(self, name):
        self.page.fill("#name", name)
        self.page.click("text=Begin")
        return self

    def answers(self):
        return self.page.locator(".answer > .text").all_inner_texts()

    def pressed(self):
        buttons = self.page.locator(".verdicts button[aria-pressed=true]").all()
        return [button.get_attribute("aria-label") for button in buttons]

    def audio(self, condition, value):
        return self.once("document.getElementById('audio')", condition, value)

    def export(self, folder):
        self.page.click("#open-export")
        with self.page.expect_download() as download:
            self.page.click("#download")
        path = folder / download.value.suggested_filename
        download.value.save_as(path)
        self.page.get_by_role("button", name="Close").click()  # the download may have the focus
        return path


@pytest.fixture
def visit(chromium, toy):
    visits = []

    def start(*arguments, **options):
        if not toy.output.exists():
            toy.make_page(*arguments)
        visits.append(Visit(chromium, toy.output / "rate.html", **options))
        return visits[-1]

    yield start
    for visited in visits:
        visited.close()


def rate_with_keys(visited):
    """Accept what the audio system says, and the shared answer."""
    for answer in visited.answers():
        visited.press("y" if "audio" in answer or answer == "The same." else "n")


def test_rate_reload_go_on_export_score(visit, toy, capsys):
    ann = visit("--seed", "2").begin("  Ann   Example ")
    assert ann.text("#heading") == "Item 1 of 12"
    for _ in range(4):
        rate_with_keys(ann)
        ann.press("Enter")
    assert ann.text("#count") == "4 of 12 rated" and ann.text("#heading") == "Item 5 of 12"
    first = ann.answers()[0]
    ann.press("y")
    ann.press("m")
    ann.page.keyboard.type("The name? <b>n</b> y")  # typing is no shortcut
    ann.press("Escape")

    ann.page.reload()
    ann.page.click("text=Go on as Ann Example (4 of 12)")
    assert ann.text("#heading") == "Item 5 of 12" and ann.answers()[0] == first
    assert ann.pressed() == ["Answer A: Yes"]
    assert ann.page.input_value("#comment") == "The name? <b>n</b> y"

    partial = ann.export(toy.root)
    scored = toy.score(partial)
    assert [len(rater["missing"]) for rater in scored["raters"]] == [8]
    assert "Ann Example has not rated 8 of 12 items: 5–12" in capsys.readouterr().out

    for _ in range(8):  # by mouse
        for place, answer in enumerate(ann.answers()):
            word = "Yes" if "audio" in answer or answer == "The same." else "No"
            ann.page.get_by_label(f"Answer {'AB'[place]}: {word}", exact=True).click()
        ann.page.click("#next")
    assert ann.page.locator("#export").is_visible()  # after the last item
    assert "All 12 items are rated. Thank you, Ann Example!" in ann.text("#export-state")
    ann.press("Escape")
    complete = ann.export(toy.root)
    assert complete.name.startswith("ratings_") and complete.name.endswith("_ann_example.json")
    found = json.loads(complete.read_text())
    assert (found["num_items"], len(found["ratings"])) == (12, 12)
    assert all(rated["rated"].startswith("20") for rated in found["ratings"])

    success = {
        (line["system"], line["level"]): line["success_rate"]
        for line in toy.score(complete)["success"]
    }
    # The cascade is right where it said the same (1 of 4); u09's "Something." names no system
    levels = ("20 % and more", "10 to 20 %", "under 10 %")
    assert [success["ears then Llama", level] for level in levels] == [0, 25, 0]
    assert [success["Llama with ears", level] for level in levels] == [75, 100, 100]
    assert "The name? &lt;b>n&lt;/b> y" in (toy.root / "scored/human_eval.md").read_text()


def test_text_of_systems_is_text(visit, toy):
    key = toy.make_page()
    number = [item["id"] for item in key["items"]].index("u08")
    ann = visit().begin("Ann")
    ann.press(*["j"] * number)
    assert all("<script>document.title='stolen'</script><img" in text for text in ann.answers())
    assert ann.page.title() == "Do these answers agree?"
    assert ann.page.locator("main img").count() == 0
    number = [item["id"] for item in key["items"]].index("u09")
    ann.press(*["k"] * 12, *["j"] * number)
    assert sorted(ann.answers()) == ["(nothing was answered)", "Something."]


def test_the_policy_stops_scripts_and_requests(visit):
    visit().begin("Ann").is_refused_scripts_and_requests()


def test_every_recording_loads_and_plays(visit, toy):
    key = toy.make_page()
    ann = visit().begin("Ann")
    for number, item in enumerate(key["items"]):
        assert ann.text("#heading") == f"Item {number + 1} of 12"
        duration = ann.audio("readyState >= 1", "duration")
        assert duration == pytest.approx(0.3 + 0.05 * int(item["id"][1:]), abs=0.08)
        ann.press("ArrowRight")
    ann.press("p")
    assert ann.audio("ended", "currentTime") == pytest.approx(duration)
    rated = json.loads(ann.export(toy.root).read_text())["ratings"]
    assert (rated[-1]["item"], rated[-1]["plays"]) == (12, 1)


def test_the_transcript_can_be_hidden_and_stays_hidden(visit):
    ann = visit().begin("Ann")
    assert ann.text("#transcript").startswith("one two three")
    ann.press("t")
    ann.press("ArrowRight")
    assert ann.text("#transcript") == ""
    ann.page.reload()
    ann.page.click("text=Go on as Ann")
    assert ann.text("#transcript") == ""
    ann.page.click("text=Show transcript")
    assert ann.text("#transcript").startswith("one two three")


def test_a_verdict_changes_and_clears(visit):
    ann = visit().begin("Ann")
    ann.press("y", "n")
    assert ann.pressed() == ["Answer A: Yes", "Answer B: No"]
    ann.press("a", "n")
    assert ann.pressed() == ["Answer A: No", "Answer B: No"]
    ann.page.get_by_label("Clear Answer B").click()
    assert ann.pressed() == ["Answer A: No"] and ann.text("#count") == "0 of 12 rated"
    ann.page.get_by_label("Answer B: Yes").click()
    ann.press("Enter")  # focus is on a pressed button: go on, do not press it again
    assert ann.text("#heading") == "Item 2 of 12"


def test_shortcuts_are_shown_and_can_be_switched_off(visit):
    ann = visit().begin("Ann")
    assert "Y N rate" in " ".join(ann.text("#reminder").split())
    ann.press("?")
    assert "play or pause the question" in ann.text("#keys")
    ann.page.uncheck("#use-keys")
    ann.press("Escape", "y")
    assert ann.pressed() == [] and not ann.page.locator("#reminder").is_visible()


def test_raters_on_one_computer_do_not_mix(visit):
    ann = visit().begin("Ann")
    ann.press("y", "y", "Enter")
    ann.press("?")
    ann.page.click("text=Another rater…")
    ann.begin("Bob")
    assert ann.text("#count") == "0 of 12 rated" and ann.text("#heading") == "Item 1 of 12"
    ann.page.reload()
    known = ann.page.locator("#known button").all_inner_texts()
    assert sorted(known) == ["Go on as Ann (1 of 12)", "Go on as Bob (0 of 12)"]
    ann.begin("ANN")
    assert ann.text("#count") == "1 of 12 rated"


def test_all_items_leads_anywhere(visit):
    ann = visit().begin("Ann")
    ann.press("y", "y")
    ann.page.click("#open-items")
    assert ann.page.locator("#grid .done").all_inner_texts() == ["1 ✓"]
    ann.page.click("#grid li:nth-child(9) button")
    assert ann.text("#heading") == "Item 9 of 12"
    ann.press("y", "y", "Enter")
    assert ann.text("#heading") == "Item 10 of 12"


def test_what_was_kept_is_damaged(visit):
    ann = visit().begin("Ann")
    ann.page.evaluate("Object.keys(localStorage).forEach((key) => localStorage[key] = '{oops')")
    ann.page.reload()
    ann.begin("Ann")
    assert ann.text("#count") == "0 of 12 rated"


def test_a_browser_that_keeps_nothing_is_told_of(visit, toy):
    toy.make_page()
    frame = toy.output / "frame.html"  # of no origin, so without storage
    frame.write_text('<iframe sandbox="allow-scripts allow-forms" src="rate.html"></iframe>')
    ann = visit()
    ann.page.goto(frame.as_uri())
    inner = ann.page.frames[1]
    inner.fill("#name", "Ann")
    inner.click("text=Begin")
    assert "This browser does not keep your ratings" in inner.inner_text("#trouble")
    ann.complaints.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_sticks_out(visit, toy, width, scheme):
    toy.system("audiollm", "Llama with ears", said={id: f"{LONG} {id}" for id in toy.ids})
    ann = visit(width=width, scheme=scheme).begin("Ann")
    assert ann.page.evaluate("document.documentElement.scrollWidth") == width
    small = ann.page.evaluate(
        """() => [...document.querySelectorAll("button")].filter((button) => button.offsetParent)
            .map((button) => button.getBoundingClientRect())
            .filter((box) => box.width < 24 || box.height < 24 || box.right > innerWidth).length"""
    )
    assert small == 0
    tops = [card.bounding_box()["y"] for card in ann.page.locator(".answer").all()]
    assert (tops[0] == tops[1]) == (width == 1280)  # side by side on a desktop only
    background = ann.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) < 200) == (scheme == "dark")
