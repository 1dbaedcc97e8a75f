"""The playground in a real browser: every page in both languages, its numbers the service's."""

import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from service_process import Service

sync_api = pytest.importorskip("playwright.sync_api")

CHROMIUM = shutil.which("chromium")
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")

PAGES = {
    "en": "Blanks,Inside,Next sentence,Tasks,Compare,Masks,Runs".split(","),
    "zh": "填空,内部,下一句,任务,对比,遮盖,训练".split(","),
}
NO_BLANK = ("No word is hidden yet. Click one above.", "还没有遮住任何词，点上面的一个词。")
FITTING = {"en": "tiny-en", "zh": "tiny-zh"}


@pytest.fixture(scope="module")
def service(every_model: tuple[Service, list[str]]) -> Service:
    return every_model[0]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS.split())
        yield started
        started.close()


class Visit:
    """A person's visit: a tab, what it complained about, and the service behind it."""

    def __init__(self, browser: Any, service: Service, language: str) -> None:
        self.language = language
        self.url = service.url
        locale, scheme = ("zh-CN", "dark") if language == "zh" else ("en-US", "light")
        context = browser.new_context(
            viewport={"width": 1100, "height": 800}, locale=locale, color_scheme=scheme
        )
        self.tab = context.new_page()
        self.tab.set_default_timeout(60_000)
        self.faults: list[str] = []
        self.tab.on("pageerror", lambda error: self.faults.append(str(error)))
        self.tab.on("console", self._console)
        self.tab.on("request", self._request)
        self.tab.goto(f"{service.url}/")

    def _console(self, message: Any) -> None:
        if message.type == "error":
            self.faults.append(message.text)

    def _request(self, request: Any) -> None:
        if not request.url.startswith(self.url):
            self.faults.append(f"a request to {request.url}")

    def say(self, en: str, zh: str) -> str:
        return zh if self.language == "zh" else en

    def open(self, place: int) -> None:
        """Clicks a page's link and waits for its first answer."""
        self.tab.wait_for_selector("form")
        self.tab.locator("form").evaluate("form => form.classList.add('before')")
        self.tab.get_by_role("link", name=PAGES[self.language][place], exact=True).click()
        self.tab.wait_for_selector("form:not(.before)")
        self.answered()

    def answered(self) -> None:
        self.tab.wait_for_selector("button[type=submit]:enabled")
        self.tab.wait_for_selector("#output > *")
        assert self.tab.locator("[role=alert]").count() == 0

    def show(self, **fields: str) -> None:
        """Fills fields of the form by name and submits it."""
        for name, value in fields.items():
            self.tab.locator(f"[name={name}]").fill(value)
        self.tab.locator("button[type=submit]").click()
        self.answered()

    def choose(self, name: str, value: str) -> None:
        self.tab.locator(f"[name={name}]").select_option(value)

    def values(self, where: str = "#output") -> list[float]:
        """The numbers that an element shows, unrounded."""
        found = self.tab.locator(f"{where} [data-value]")
        return [float(one) for one in found.evaluate_all("all => all.map(e => e.dataset.value)")]

    def words(self, where: str) -> list[str]:
        return list(self.tab.locator(where).all_text_contents())

    def field(self, name: str) -> str:
        """What the address says of a field."""
        return parse_qs(urlsplit(self.tab.url).fragment.split("?")[1])[name][0]

    def ask(self, path: str, **body: Any) -> Any:
        """What the service answers."""
        answer = httpx.post(f"{self.url}/v1/{path}", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()["results"][0]

    def fits(self) -> None:
        """Nothing scrolls sideways, on a telephone or a desktop."""
        for width in (390, 1100):
            self.tab.set_viewport_size({"width": width, "height": 800})
            assert self.tab.evaluate("document.documentElement.scrollWidth") <= width


@pytest.fixture(scope="module", params=["en", "zh"])
def visiting(request: pytest.FixtureRequest, browser: Any, service: Service) -> Iterator[Visit]:
    made = Visit(browser, service, request.param)
    yield made
    made.tab.close()


@pytest.fixture
def visit(visiting: Visit) -> Iterator[Visit]:
    yield visiting
    visiting.fits()
    assert visiting.faults == []


def test_a_word_that_is_clicked_is_hidden_and_guessed(visit: Visit) -> None:
    visit.open(0)
    model = FITTING[visit.language]
    assert visit.words("nav a") == PAGES[visit.language]
    assert model in visit.words("#output h3")[0]
    visit.show(text=visit.say("The old man.", "我喜欢苹果。"))
    assert visit.words("#output") == [visit.say(*NO_BLANK)]
    visit.tab.get_by_role("button", name=visit.say("old", "苹"), exact=True).click()
    visit.answered()
    text = visit.say("The [MASK] man.", "我喜欢[MASK]果。")
    assert visit.field("text") == text
    visit.tab.wait_for_selector("#output [data-value]")
    found = visit.ask("fill-mask", model=model, text=text, top_k=8)["blanks"][0]["candidates"]
    first = "#output section:first-child"
    assert visit.values(first) == pytest.approx([one["probability"] for one in found], abs=1e-5)
    assert visit.words(f"{first} .bars b") == [one["token"] for one in found]


def test_several_blanks_are_filled_apart_and_together(visit: Visit) -> None:
    visit.open(0)
    text = visit.say("He went to the [MASK] [MASK].", "我喜欢[MASK][MASK]。")
    visit.show(text=text)
    found = visit.ask("fill-mask", model=FITTING[visit.language], text=text, top_k=8, joint=True)
    apart = [one["probability"] for blank in found["blanks"] for one in blank["candidates"]]
    together = [one["probability"] for one in found["joint"]]
    shown = visit.values("#output section:first-child")
    assert shown == pytest.approx(apart + together, abs=1e-5)
    assert visit.say("independent", "独立") in visit.words("#output section:first-child")[0]
    assert any(
        visit.say("one blank", "一个空") in shown for shown in visit.words("#output section")
    )


def test_the_inside_of_a_model_is_drawn_with_the_numbers_of_the_service(visit: Visit) -> None:
    visit.open(1)
    text, text_b = visit.say("He sat down.", "他坐下。"), visit.say("It was late.", "天晚了。")
    visit.show(text=text, text_b=text_b)
    found = visit.ask("inspect", model=FITTING[visit.language], text=text, text_b=text_b)
    headings = visit.words("#output h2")
    assert visit.say("What the model expects", "模型的预期") in headings
    assert len(headings) == 6
    expected = [one["probability"] for one in found["expected"] if one]
    assert len(expected) == len(found["tokens"]) - 3
    shown = visit.values()
    for one in (*expected, found["next_sentence"]):
        assert min(abs(one - value) for value in shown) < 1e-5
    assert visit.words("#output th")[1:4] == [
        *visit.say("token,segment,position", "词元嵌入,分段,位置").split(",")
    ]
    name = visit.say("Layer 1, head 2", "第 1 层第 2 头")
    visit.tab.get_by_role("button", name=name, exact=True).click()
    chip = "#output button.chip[data-value]"
    visit.tab.locator(chip).nth(2).hover()
    row = visit.tab.locator(chip).evaluate_all("all => all.map(e => Number(e.dataset.value))")
    assert row == pytest.approx(found["attention"][0][1][2], abs=1e-5)


def test_whether_a_sentence_follows_is_shown_by_each_model(visit: Visit) -> None:
    visit.open(2)
    a, b = visit.say("It rained.", "下雨了。"), visit.say("She was wet.", "她湿了。")
    visit.show(text=a, text_b=b)
    names = visit.words("#output h3")
    assert names[0] == FITTING[visit.language]
    expected = [visit.ask("next-sentence", model=one, text=a, text_b=b) for one in names]
    both = [(one["probability"], 1 - one["probability"]) for one in expected]
    assert visit.values() == pytest.approx([one for pair in both for one in pair], abs=1e-5)


def test_fine_tuned_models_answer_in_a_form_that_fits(visit: Visit) -> None:
    visit.open(3)
    for model in ("reviews", "topics"):
        visit.choose("model", model)
        visit.tab.wait_for_function(f"location.hash.includes('{model}')")
        visit.show(text="a fine day")
        found = visit.ask("classify", model=model, text="a fine day")
        ranked = sorted(found["probabilities"].items(), key=lambda one: -one[1])
        assert visit.words("#output .bars b") == [label for label, _ in ranked]
        assert visit.values() == pytest.approx([value for _, value in ranked], abs=1e-5)
    given = visit.words("#output p")[0]
    assert all(label in given for label in found["labels"])
    visit.choose("model", "stars")
    visit.tab.wait_for_selector("#output > p[data-value]")
    visit.show(text="a fine day", text_b="a bad day")
    [found] = visit.values()
    expected = visit.ask("classify", model="stars", text="a fine day", text_b="a bad day")
    assert visit.tab.locator("#output > p").get_attribute("data-value") == str(expected["value"])


def test_choices_entities_and_answers_are_shown(visit: Visit) -> None:
    visit.open(3)
    visit.choose("model", "endings")
    visit.tab.wait_for_selector("[name=choices]")
    visit.show(text="He sat", choices="down.\n\nup.")
    body = {"text": "He sat", "choices": ["down.", "up."]}
    expected = visit.ask("multiple-choice", model="endings", **body)["probabilities"]
    assert visit.words("#output .bars b") == body["choices"]
    assert visit.values() == pytest.approx(expected, abs=1e-5)
    visit.choose("model", "names")
    visit.tab.wait_for_selector("#output .passage")
    visit.show(text="Anna met Ben 在 Bonn.")
    entities = visit.ask("tokens", model="names", text="Anna met Ben 在 Bonn.")["entities"]
    marked = ["Anna met Ben 在 Bonn."[one["start"] : one["end"]] + one["type"] for one in entities]
    assert visit.words("#output mark") == marked
    visit.choose("model", "places")
    visit.tab.wait_for_selector("[name=question]")
    visit.show(question="Who?", context="Anna met Ben.")
    expected = visit.ask("answer", model="places", question="Who?", context="Anna met Ben.")
    [shown] = visit.words("#output mark")
    assert shown.startswith(expected["text"])
    assert shown.endswith("%")


def test_nothing_stands_in_the_way_of_keyboards_and_screen_readers(visit: Visit) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    for place, name in enumerate(PAGES[visit.language]):
        visit.open(place)
        faults = _serious(axe.run(visit.tab))
        visit.tab.locator("#theme").click()
        visit.answered()
        faults += _serious(axe.run(visit.tab, options={"runOnly": ["color-contrast"]}))
        visit.tab.locator("#theme").click()
        assert faults == [], name


def _serious(found: Any) -> list[tuple[str, str]]:
    """The rules that a page breaks, with the first place."""
    return [
        (one["id"], one["nodes"][0]["html"])
        for one in found.response["violations"]
        if one["impact"] in ("serious", "critical")
    ]


def test_families_are_compared_factor_by_factor(visit: Visit) -> None:
    visit.open(4)
    text = visit.say("He likes apples.", "我喜欢苹果")
    visit.show(text=text)
    titles = visit.words("#output h3")
    assert titles[0] == f"{FITTING[visit.language]} (BERT)"
    assert "gpt (GPT)" in titles
    sides = []
    for title in titles:
        found = visit.ask("log-likelihood", model=title.split()[0], text=text)
        for one in found["tokens"]:
            sides += [one["nats"][side] for side in found["totals"] if side in one["nats"]]
        total = f"{next(iter(found['totals'].values())):.2f}"
        assert any(total in words for words in visit.words("#output section p"))
    assert visit.values() == pytest.approx(sides, abs=1e-4)


def test_words_are_hidden_as_in_pretraining_and_drawn_again(visit: Visit) -> None:
    visit.open(5)
    texts = {
        "text": visit.say("He sat down.", "他坐下了。"),
        "text_b": visit.say("It was.", "是的。"),
    }
    visit.show(share="40", **texts)
    for seed, label in enumerate((("next sentence", "下一句"), ("random sentence", "随机的句子"))):
        shown_label = visit.tab.locator("#output p").get_by_text(visit.say(*label))
        shown_label.wait_for()
        if seed:  # The second text comes from elsewhere.
            texts["text_b"] = visit.say("The bridge was built in 1932.", "这座桥建于一九三二年。")
        model = FITTING[visit.language]
        found = visit.ask("masks", model=model, share=0.4, seed=seed, **texts)["tokens"]
        assert visit.field("seed") == str(seed)
        chips = visit.tab.locator("#output .chip")
        seen = chips.evaluate_all("all => all.map(e => e.firstChild.textContent)")
        assert seen == [one["seen"] for one in found]
        hows = chips.evaluate_all("all => all.map(e => e.className.replace('chip', '').trim())")
        assert hows == [one["how"] or "" for one in found]
        assert sum(map(bool, hows)) >= 2
        visit.tab.get_by_role("button", name=visit.say("Draw again", "再抽一次")).click()


def test_curves_of_finished_and_running_trainings(visit: Visit) -> None:
    visit.open(6)
    for name, words in (("done", ("finished", "已完成")), ("going", ("running", "进行中"))):
        visit.choose("run", f"runs/{name}")
        visit.tab.get_by_text(visit.say(*words), exact=True).wait_for()
    assert visit.words("#output h3") == ["loss", "mlm_loss"]
    labels = visit.tab.locator("svg.curve").evaluate_all(
        "all => all.map(e => e.getAttribute('aria-label'))"
    )
    assert labels == ["loss: 1.600", "mlm_loss: 2.500"]
    points = visit.tab.locator("svg.curve polyline").first.get_attribute("points")
    assert len(points.split()) == 5


def test_language_and_theme_change_at_a_click_and_stay(visit: Visit) -> None:
    visit.open(2)
    other = "en" if visit.language == "zh" else "zh"
    theme = visit.tab.locator("html").get_attribute("data-theme")
    assert theme == visit.say("light", "dark")
    visit.tab.locator("#language").click()
    visit.tab.locator("#theme").click()
    visit.tab.reload()
    visit.answered()
    assert visit.tab.locator("html").get_attribute("lang") == other
    assert visit.tab.locator("html").get_attribute("data-theme") != theme
    assert visit.words("nav a") == PAGES[other]
    visit.tab.locator("#language").click()
    visit.tab.locator("#theme").click()
    visit.answered()
