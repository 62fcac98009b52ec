"""report.html in a real Chromium, without network: tables, utterances, sounds, looks."""

import time

import browser
import numpy as np
import pytest

from espnet_audiollm.bin.score import main
from espnet_audiollm.data.audio import write_audio

ATTACK = "</script><script>document.title='stolen'</script><img src=x onerror=alert(1)>"
LONG = "Donaudampfschifffahrtsgesellschaft" * 8
MANY = 40


def record(experiment):
    """Recordings of 0.3 s and 0.1 s more from one to the next."""
    paths = {}
    for number, id in enumerate(experiment.texts):
        samples = 0.3 * np.sin(np.arange(int(16000 * (0.3 + 0.1 * number))) * 0.1)
        paths[id] = experiment.root / f"{id}.wav"
        write_audio(paths[id], samples.astype(np.float32))
    lines = (f"{id} {path}\n" for id, path in paths.items())
    (experiment.data / "wav.scp").write_text("".join(lines))


@pytest.fixture(scope="module")
def page_of_all(make_experiment, tmp_path_factory):
    """The page of the small test set as it is."""
    experiment = make_experiment(tmp_path_factory.mktemp("report"))
    return score(experiment, ())


def score(experiment, arguments):
    if not experiment.systems:
        experiment.all_systems()
    if not (experiment.data / "wav.scp").is_file():
        record(experiment)
    assert main([*experiment.arguments(), *arguments]) == 0
    return experiment.output / "report.html"


@pytest.fixture
def visit(chromium, experiment, request):
    """Open the page of the small test set, or of what `change` makes of it before it is scored."""
    visits = []

    def start(change=None, arguments=(), **options):
        if change:
            experiment.all_systems()
            record(experiment)
            change()
        changed = change or arguments
        path = score(experiment, arguments) if changed else request.getfixturevalue("page_of_all")
        visits.append(browser.Visit(chromium, path, **options))
        return visits[-1]

    yield start
    for visited in visits:
        visited.close()


def ids(visited):
    """Of the utterances listed, in order."""
    heads = visited.page.locator("article h4").all_inner_texts()
    return [head.split(" ", 1)[1] for head in heads]


def choose(visited, **values):
    for id, label in values.items():
        visited.page.select_option(f"#{id}", label=label)


def column(visited, number):
    """The cells of a column of the first table."""
    rows = visited.page.locator("table").first.locator("tbody tr").all()
    return [row.locator("th, td").nth(number).inner_text().split()[0] for row in rows]


def test_heads_sort_tables(visit):
    page = visit()
    head = page.page.locator("table").first.locator("thead th").nth(1)
    original = column(page, 1)
    assert original == ["0.0", "5.9", "17.6", "–", "–"]
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(page, 1) == ["0.0", "5.9", "17.6", "–", "–"]
    page.press("Enter")  # it has the focus
    assert head.get_attribute("aria-sort") == "descending"
    assert column(page, 1) == ["17.6", "5.9", "0.0", "–", "–"]  # what is not known stays last
    page.press("Enter")
    assert head.get_attribute("aria-sort") is None and column(page, 1) == original
    page.page.locator("table").first.locator("thead button").nth(2).click()
    assert column(page, 2) == ["1.100", "1.500", "2.000", "4.000", "50.0"]
    page.page.locator("table").first.locator("thead button").first.click()
    assert column(page, 0) == ["AudioLLM,", "cascade", "cascade", "no", "reference"]


def test_search_and_filters(visit):
    page = visit()
    assert len(ids(page)) == 4 and page.text("#count").startswith("4 of 4")
    page.page.fill("#search", "ROME")  # an answer
    assert ids(page) == ["utt1"]
    page.page.fill("#search", "romance")  # a cascade's hypothesis
    assert ids(page) == ["utt1"]
    page.page.fill("#search", "spanish cat")  # all words, in any order
    assert ids(page) == ["utt4"]
    page.page.fill("#search", "nowhere")
    assert ids(page) == [] and page.text("#count").startswith("0 of 4")
    page.page.fill("#search", "")
    choose(page, category="sum (1)")
    assert ids(page) == ["utt2"]
    choose(page, category="all", a="cascade 5epoch", b="AudioLLM, stack 2")
    choose(page, pattern="A wrong, B right")
    assert ids(page) == ["utt1"]
    choose(page, pattern="both right")
    assert set(ids(page)) == {"utt2", "utt3", "utt4"}
    choose(page, pattern="A right, B wrong")
    assert ids(page) == []


def test_orders(visit, experiment):
    def change():
        """utt3 is the one that AudioLLM is worst at, utt2 the one that it is best at."""
        each = {"utt1": 1.0, "utt2": 0.1, "utt3": 3.0, "utt4": 1.0}
        nats = {id: [each[id]] * len(ids) for id, ids in experiment.ids.items()}
        experiment.system("audiollm", "AudioLLM, stack 2", nats)

    page = visit(change)
    # Nats a token of the cascades: log 2 = 0.69 and log 4 = 1.39 everywhere
    assert ids(page)[:2] == ["utt3", "utt2"]  # 3 - 0.69, 1.39 - 0.1
    choose(page, a="cascade 20epoch", b="AudioLLM, stack 2")
    choose(page, order="B better than A (perplexity)")
    assert ids(page) == ["utt2", "utt1", "utt4", "utt3"]
    choose(page, order="A better than B (perplexity)")
    assert ids(page) == ["utt3", "utt1", "utt4", "utt2"]
    choose(page, order="word errors: cascade 5epoch")
    assert ids(page)[0] == "utt1"
    choose(page, order="the test set's order")
    assert ids(page) == ["utt1", "utt2", "utt3", "utt4"]


def test_errors_are_marked(visit):
    page = visit()
    choose(page, order="the test set's order")
    answer = page.page.locator("article").first.locator(".answer", has_text="cascade 5epoch")
    assert answer.locator(".delete del").inner_text() == "the"
    assert answer.locator(".insert").count() == answer.locator(".substitute").count() == 1
    spoken = answer.locator(".hyp").evaluate("node => node.textContent")
    assert "left out: −the" in spoken and "put in: +" in spoken  # not only by colour
    assert answer.locator(".wrong").inner_text().startswith("✗")
    right = page.page.locator("article").first.locator(".answer", has_text="cascade 20epoch")
    assert right.locator(".edit").count() == 0 and right.locator(".right").count() == 1


def test_every_recording_loads_and_plays(visit, experiment):
    page = visit()
    choose(page, order="the test set's order")
    for number in range(4):
        duration = sound(page, number, "readyState >= 1", "duration")
        assert duration == pytest.approx(0.3 + 0.1 * number, abs=0.08)
    article = page.page.locator("article").nth(1)
    article.focus()
    page.press("p")
    assert sound(page, 1, "ended", "currentTime") > 0.3


def sound(visited, number, condition, value):
    """`value` of the player of an utterance once `condition` holds."""
    return visited.once(f"document.querySelectorAll('audio')[{number}]", condition, value)


def test_keys_go_from_one_to_the_next(visit):
    page = visit()
    choose(page, order="the test set's order")
    page.page.locator("article").first.focus()
    page.press("j", "j")
    assert "utt3" in page.text("article:focus h4")
    page.press("k")
    assert "utt2" in page.text("article:focus h4")
    page.press("/")
    page.page.keyboard.type("jk")  # typing is no shortcut
    assert page.page.input_value("#search") == "jk"


def test_sounds_stay_within_the_limit(visit, experiment, capsys):
    page = visit(arguments=["--max_audio_mb", "0.005"])  # each takes about 2 kB
    assert page.page.locator("audio").count() == 2
    assert page.text("#count") == "4 of 4. 2 have their recording in this file."


def test_a_recording_that_is_gone_stops_nothing(visit, experiment, capsys):
    page = visit(lambda: (experiment.root / "utt2.wav").unlink())
    assert page.page.locator("audio").count() == 3
    assert "1 recordings are left out of the report (first: utt2: " in capsys.readouterr().err


def test_systems_can_be_hidden(visit):
    page = visit()
    labels = page.page.locator("article").first.locator(".label")
    assert labels.all_inner_texts() == [
        "reference text",
        "cascade 20epoch",
        "cascade 5epoch",
        "AudioLLM, stack 2",
    ]
    page.page.click("text=Systems shown")
    page.page.get_by_role("checkbox", name="cascade 5epoch").uncheck()
    assert "cascade 5epoch" not in labels.all_inner_texts()


def test_text_of_systems_is_text(visit, experiment):
    def change():
        answers = dict.fromkeys(experiment.texts, ATTACK) | {"utt4": ""}
        experiment.system("no_prompt", "no prompt", np.log(50.0), responses=answers)

    page = visit(change, arguments=["--recipe", f"x{ATTACK}"])
    page.page.click("text=Systems shown")
    page.page.get_by_role("checkbox", name="no prompt").check()
    said = page.page.locator(".no_prompt .said").all_inner_texts()
    assert said.count(ATTACK) == 3 and said.count("(nothing was answered)") == 1
    assert page.page.title() == f"Results: x{ATTACK}"
    assert page.page.locator("article img").count() == 0


def test_the_policy_stops_scripts_and_requests(visit):
    visit().is_refused_scripts_and_requests()


@pytest.fixture
def many(make_experiment, tmp_path):
    """The small test set with more utterances, of two speakers."""
    experiment = make_experiment(tmp_path, more=MANY)
    speakers = (f"{id} {'ann' if id.startswith('more') else 'bob'}\n" for id in experiment.texts)
    (experiment.data / "utt2spk").write_text("".join(speakers))
    return experiment


def test_long_lists_are_drawn_as_one_scrolls(chromium, many):
    page = browser.Visit(chromium, score(many, ()))
    assert page.text("#count").startswith(f"{MANY + 4} of {MANY + 4}")
    drawn = page.page.locator("article").count()
    assert 0 < drawn < MANY
    until = time.monotonic() + 20
    while page.page.locator("article").count() < MANY + 4 and time.monotonic() < until:
        page.page.mouse.wheel(0, 2000)
    assert page.page.locator("article").count() == MANY + 4
    assert page.page.locator("#more").is_hidden()
    assert "Speaker" in page.page.content()
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out(visit, experiment, width, scheme):
    def change():
        answers = dict.fromkeys(experiment.texts, LONG)
        experiment.system("audiollm", "AudioLLM, stack 2", np.log(1.5), responses=answers)

    page = visit(change, width=width, scheme=scheme)
    page.page.evaluate("for (const x of document.querySelectorAll('details')) x.open = true")
    assert page.page.evaluate("document.documentElement.scrollWidth") == width
    small = page.page.evaluate(
        """() => [...document.querySelectorAll("button, select, summary, nav a")]
            .filter((node) => node.offsetParent).map((node) => node.getBoundingClientRect())
            .filter((box) => box.width < 24 || box.height < 20).length"""
    )
    assert small == 0
    background = page.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) < 200) == (scheme == "dark")
    loaded = page.page.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
    assert loaded


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(visit, scheme):
    """Contrast of at least 4.5 (WCAG 2.2, AA) between text and what is behind it."""
    page = visit(scheme=scheme)
    faint = page.page.evaluate(CONTRAST)
    assert faint == []


CONTRAST = """() => {
    const parse = (text) => text.match(/[\\d.]+/g).map(Number);
    const light = (rgb) => {
        const [r, g, b] = rgb.map((x) => x / 255)
            .map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (node) => {
        for (; node; node = node.parentElement) {
            const colour = parse(getComputedStyle(node).backgroundColor);
            if (colour.length === 3 || colour[3] > 0) return colour.slice(0, 3);
        }
        return [255, 255, 255];
    };
    const faint = new Set();
    for (const node of document.querySelectorAll("body *")) {
        const own = [...node.childNodes].some((x) => x.nodeType === 3 && x.textContent.trim());
        if (!own || !node.offsetParent || node.closest(".unseen, option, script")) continue;
        const [a, b] = [parse(getComputedStyle(node).color).slice(0, 3), behind(node)].map(light);
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < 4.5) faint.add(`${node.tagName}.${node.className} ${contrast.toFixed(2)}`);
    }
    return [...faint];
}"""


def test_every_control_has_a_name(visit):
    page = visit()
    nameless = page.page.evaluate(
        """() => [...document.querySelectorAll("input, select, button, audio, img, a")]
            .filter((node) => !(node.labels?.length || node.ariaLabel || node.alt
                || node.textContent.trim())).map((node) => node.outerHTML)"""
    )
    assert nameless == []
    assert page.page.evaluate("document.documentElement.lang") == "en"


def test_print_has_everything(visit, tmp_path):
    page = visit()
    page.page.emulate_media(media="print")
    assert page.page.locator("#controls").is_hidden()
    page.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.page.locator("details:not([open])").count() == 0
    page.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.page.locator("details:not([open])").count() > 0
