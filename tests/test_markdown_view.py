"""The answer as Markdown, in real Chromium: nothing the model wrote is run or fetched, and all can be copied."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Request as PageRequest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from jupyter_ssechat.widget import STATIC

from .jupyter_lab import Browser, Lab
from .servers import Served

# A model as anywidget hands it out, which answers a request for the extras as the kernel does.
PAGE = """<!doctype html><title>Answer</title><meta charset="utf-8"><link rel="stylesheet" href="/widget.css">
<div id="here"></div><script type="module">
import widget from "/widget.js";
const handlers = new Set();
const state = { snapshot: { seq: 0, document: { response: { status: "WIP", content: "" } } }, status: "streaming" };
const deliver = (message, buffers) => handlers.forEach((handler) => handler(message, buffers));
window.asked = 0;
const model = {
  get: (name) => state[name],
  on: (name, handler) => name === "msg:custom" && handlers.add(handler),
  off: () => {},
  send: async ({ type }) => {
    if (type !== "extras") return;
    window.asked++;
    const bytes = await (await fetch("/extras.js")).arrayBuffer();
    deliver({ type: "extras" }, [new DataView(bytes)]);
  },
};
const view = widget();
view.initialize({ model });
view.render({ model, el: document.getElementById("here") });
let seq = 0;
const patch = (p, o, v) => deliver({ type: "patches", seq: ++seq, patches: [{ p, o, v }] });
const frame = () => new Promise(requestAnimationFrame);
window.say = async (pieces) => {
  for (const piece of pieces) {
    patch("response/content", "APPEND", piece);
    await frame();
  }
  await frame();
};
window.end = async () => { patch("response/status", "SET", "FINISHED"); await frame(); await frame(); };
window.answer = () => document.querySelector(".ssechat-answer");
window.ready = true;
</script>"""
NO_BLOBS = {"Content-Security-Policy": "script-src 'self' 'unsafe-inline'"}


class Site:
    """The page, the built bundle, and what else is asked for."""

    def __init__(self) -> None:
        self.pictures: list[dict[str, str]] = []
        routes = [
            Route("/", lambda _: HTMLResponse(PAGE)),
            Route("/strict", lambda _: HTMLResponse(PAGE, headers=NO_BLOBS)),
            *(Route(f"/{name}", self._file) for name in ("widget.js", "widget.css", "extras.js")),
            Route("/picture.svg", self._picture),
        ]
        self._served = Served(Starlette(routes=routes))
        self.url = self._served.url

    def _file(self, request: Request) -> Response:
        return FileResponse(STATIC / request.url.path.removeprefix("/"))

    def _picture(self, request: Request) -> Response:
        self.pictures.append(dict(request.headers))
        return Response('<svg xmlns="http://www.w3.org/2000/svg"/>', media_type="image/svg+xml")

    def close(self) -> None:
        """End the server."""
        self._served.close()


class AnswerPage:
    """A page with one answer; what it asks for and complains about is noted."""

    def __init__(self, browser: Browser, site: Site, path: str = "/") -> None:
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.dialogs: list[str] = []
        self._do = browser.do
        self.page = browser.new_page(
            {
                "request": self._note,
                "pageerror": lambda error: self.errors.append(str(error)),
                "dialog": self._dialog,
            }
        )
        self._do(self.page.goto(site.url + path))
        self.wait("window.ready")

    def _note(self, request: PageRequest) -> None:
        self.requests.append(request.url)

    async def _dialog(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        await dialog.dismiss()

    def js(self, expression: str, argument: Any = None) -> Any:
        """Evaluate an expression that may use `argument`."""
        return self._do(self.page.evaluate(f"(argument) => {expression}", argument))

    def wait(self, expression: str) -> None:
        """Wait until this is true."""
        self._do(self.page.wait_for_function(f"() => {expression}", timeout=20_000))

    def say(self, *pieces: str) -> None:
        """Let these pieces arrive, one in each frame."""
        self.js("say(argument)", list(pieces))

    def end(self) -> None:
        """Let the answer end."""
        self.js("end()")

    def click(self, selector: str) -> None:
        """Click what the selector finds."""
        self._do(self.page.click(selector))

    def press(self, key: str) -> None:
        """Press a key where the focus is."""
        self._do(self.page.keyboard.press(key))

    def grant(self, *permissions: str) -> None:
        """Let the page do this."""
        self._do(self.page.context.grant_permissions(list(permissions)))

    def close(self) -> None:
        """Close the page."""
        self._do(self.page.close())


@pytest.fixture(scope="module")
def browser(installed_chromium: str) -> Iterator[Browser]:
    """One Chromium for these tests."""
    browser = Browser(installed_chromium)
    yield browser
    browser.close()


@pytest.fixture
def site() -> Iterator[Site]:
    """The server of the page."""
    site = Site()
    yield site
    site.close()


@pytest.fixture
def answer(browser: Browser, site: Site) -> Iterator[AnswerPage]:
    """A page with an answer that streams."""
    page = AnswerPage(browser, site)
    yield page
    page.close()


# ---- what the model writes is never run ----

ATTACKS = [
    "<script>window.pwned = 1</script>",
    "<img src=x onerror='window.pwned = 1'>",
    "<img src=http://127.0.0.1:9/leak>",
    "<svg onload='window.pwned = 1'><animate onbegin='window.pwned = 1' attributeName=x dur=1s></svg>",
    "<svg><style><img src=x onerror=window.pwned=1></style></svg>",
    "<math><mtext><table><mglyph><style><img src=x onerror=window.pwned=1>",
    "<math href='javascript:window.pwned=1'>x</math>",
    "<iframe srcdoc='<script>parent.pwned = 1</script>'></iframe>",
    "<iframe src='javascript:parent.pwned=1'></iframe>",
    "<object data='javascript:parent.pwned=1'></object><embed src='javascript:parent.pwned=1'>",
    "<style>@import 'http://127.0.0.1:9/leak'; * { background: url(http://127.0.0.1:9/leak) }</style>",
    "<link rel=stylesheet href=http://127.0.0.1:9/leak><base href=http://127.0.0.1:9/>",
    "<template><script>window.pwned = 1</script></template>",
    "<form id=here name=getElementById><input name=body><button formaction=javascript:window.pwned=1>x</form>",
    "<a id=model name=answer href=#>x</a><a id=say><a id=say name=call>",
    "<details open ontoggle=window.pwned=1>x</details>",
    "<video><source onerror='window.pwned = 1'></video><body onload=window.pwned=1>",
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1:9/leak'>",
    "[x](javascript:window.pwned=1)",
    "[x](JaVaScRiPt:window.pwned=1)",
    "[x](java&#x09;script:window.pwned=1)",
    "[x](java&Tab;script:window.pwned=1)",
    "[x](&#106;avascript:window.pwned=1)",
    "[x](javascript&colon;window.pwned=1)",
    "[x](<java\tscript:window.pwned=1>)",
    "[x](\x01javascript:window.pwned=1)",
    "[x](&#1;javascript:window.pwned=1)",
    "[x](data:text/html,<script>parent.pwned=1</script>)",
    "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "[x](vbscript:msgbox(1)) [x](file:///etc/passwd) [x](blob:http://x/1) [x](//127.0.0.1:9/leak)",
    "[x]: javascript:window.pwned=1\n\n[x]",
    "<javascript:window.pwned=1> <data:text/html,x>",
    "![x](javascript:window.pwned=1) ![x](data:image/svg+xml,<svg/onload=window.pwned=1>)",
    "![x](http://127.0.0.1:9/leak) ![x](//127.0.0.1:9/leak) ![x](https://127.0.0.1:9/leak 'onerror=x')",
    '[x](https://127.0.0.1:9/ "\\" onmouseover=window.pwned=1 x=\\"")',
    "[![x](javascript:window.pwned=1)](javascript:window.pwned=1)",
    '```"><script>window.pwned=1</script>\n<script>window.pwned = 1</script>\n```',
    "```html\n<img src=x onerror=window.pwned=1><script>window.pwned=1</script>\n```",
    "```javascript\nconst x = `${'</span><img src=x onerror=window.pwned=1>'}`\n```",
    "$\\href{javascript:window.pwned=1}{x}$ $\\url{javascript:window.pwned=1}$",
    "$\\includegraphics{http://127.0.0.1:9/leak}$ $\\text{<img src=x onerror=window.pwned=1>}$",
    '$$\\class{x" onclick="window.pwned=1}{y} \\id{here}{z} \\style{background:url(http://127.0.0.1:9/leak)}{w}$$',
    "| <script>window.pwned=1</script> | ![x](http://127.0.0.1:9/l) |\n|---|---|\n| <img src=x onerror=pwned=1> | y |",
    "- [x] <input onfocus=window.pwned=1 autofocus>\n- <a href=javascript:window.pwned=1>x</a>",
    'https://127.0.0.1:9/"onmouseover=window.pwned=1 http://127.0.0.1:9/<script>window.pwned=1</script>',
    "__proto__ [constructor] [__proto__] [toString]\n\n[__proto__]: https://127.0.0.1:9/x",
]
HARM = """(() => {
  const root = answer();
  const bad = "script,iframe,object,embed,style,link,base,meta,form,template,svg,img,video,audio,source,details";
  const acts = /^(on|id$|name$|src|srcset|xlink|action|formaction|ping|background)/;
  const attributes = [...root.querySelectorAll("*")].flatMap((one) => one.getAttributeNames());
  return {
    pwned: window.pwned ?? null,
    elements: [...root.querySelectorAll(bad)].map((one) => one.nodeName),
    attributes: attributes.filter((name) => acts.test(name)),
    links: [...root.querySelectorAll("a, [href]")].map((one) => one.protocol),
    guarded: [...root.querySelectorAll("a")].every(
      (one) => one.rel === "noopener noreferrer nofollow" && one.target === "_blank"),
    here: document.getElementById("here") === document.querySelector("body > div"),
  };
})()"""


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_runs_nothing_and_fetches_nothing(answer: AnswerPage, attack: str) -> None:
    answer.say("Before.\n\n", *attack, "\n\nAfter `x` $y$.\n\n```python\nx\n```\n\n", attack)
    answer.end()
    answer.wait("answer().querySelector('math') && answer().querySelector('[data-coloured]')")
    answer.js(
        "answer().querySelectorAll('a').forEach((link) => link.dispatchEvent(new MouseEvent('mouseover')))"
    )
    harm = answer.js(HARM)
    assert set(harm.pop("links")) <= {"http:", "https:", "mailto:"}
    assert harm == {"pwned": None, "elements": [], "attributes": [], "guarded": True, "here": True}
    assert answer.dialogs == []
    origin = answer.js("location.origin")
    assert [url for url in answer.requests if not url.startswith((origin, f"blob:{origin}"))] == []
    assert "Before." in answer.js("answer().innerText") and "After" in answer.js("answer().innerText")


def test_html_is_shown_as_it_was_written(answer: AnswerPage) -> None:
    answer.say("a <b>bold</b> &lt;i&gt; <!-- no --> <br/>")
    answer.end()
    assert answer.js("answer().innerText") == "a <b>bold</b> <i> <!-- no --> <br/>"


def test_an_image_is_fetched_when_its_button_is_pressed_and_says_nothing_of_the_reader(
    answer: AnswerPage, site: Site
) -> None:
    answer.say(f"See ![a cat]({site.url}/picture.svg)!")
    answer.end()
    host = site.url.removeprefix("http://")
    assert answer.js("answer().innerText") == f"See Image: a cat {host}!"
    assert site.pictures == []
    answer.click(".ssechat-picture")
    answer.wait("answer().querySelector('img')?.complete")
    assert len(site.pictures) == 1 and "referer" not in site.pictures[0]
    assert answer.js("answer().querySelector('img').alt") == "a cat"


# ---- what comes on request ----

MIXED = """# Title

```python
def f(x):
    return x  # 好
```

The sum $\\sum_i x_i^2$ and

$$\\frac{1}{2}$$

end
"""


def test_code_is_coloured_and_formulas_are_typeset_by_what_is_asked_for_once(answer: AnswerPage) -> None:
    answer.say(*MIXED)
    answer.end()
    answer.wait("answer().querySelectorAll('math').length === 2")
    answer.wait("answer().querySelector('.ssechat-hl-keyword')")
    assert answer.js("window.asked") == 1
    assert answer.js("answer().querySelector('pre').textContent") == "def f(x):\n    return x  # 好\n"
    assert answer.js("answer().querySelector('math').namespaceURI") == "http://www.w3.org/1998/Math/MathML"
    size = "parseFloat(getComputedStyle(argument).fontSize)"
    sizes = [answer.js(size.replace("argument", f"answer().querySelector('{tag}')")) for tag in ("p", "math")]
    assert 1 < sizes[1] / sizes[0] < 1.2
    assert answer.errors == []


def test_long_code_is_coloured_to_its_end_and_stays_as_it_was_written(answer: AnswerPage) -> None:
    code = "".join(f"def f_{number}(x):\n    return x + {number}  # 好\n" for number in range(900))
    answer.say("```py\n", code, "```\n")
    answer.end()
    answer.wait("answer().querySelector('.ssechat-code').dataset.coloured === 'true'")
    groups = "[...answer().querySelectorAll('.ssechat-code-group')]"
    assert answer.js(f"{groups}.every((group) => group.querySelector('.ssechat-hl-keyword'))") is True
    assert answer.js(f"{groups}.length") == 36
    assert answer.js("answer().querySelector('pre').textContent") == code
    assert answer.errors == []


def test_money_is_no_formula_and_asks_for_nothing(answer: AnswerPage) -> None:
    answer.say("It costs $5 and $10, or $5-$10; `$x$` is code.\n\n```\nplain\n```\n")
    answer.end()
    assert answer.js("answer().querySelectorAll('.ssechat-formula').length") == 0
    assert answer.js("window.asked") == 0


def test_without_extras_code_and_formulas_stand_as_they_were_written(browser: Browser, site: Site) -> None:
    answer = AnswerPage(browser, site, "/strict")
    answer.say(*MIXED)
    answer.end()
    answer.wait("window.asked === 1")
    shown = answer.js("answer().innerText")
    assert "return x  # 好" in shown and "$\\sum_i x_i^2$" in shown and "$$\\frac{1}{2}$$" in shown
    assert answer.js("answer().querySelectorAll('math, [data-coloured]').length") == 0
    answer.close()


def test_the_kernel_hands_out_the_extras_and_the_page_keeps_them(lab: Lab) -> None:
    show = (
        "from jupyter_ssechat.patches import Patch\nfrom jupyter_ssechat.widget import ChatView\nview = ChatView()\n"
        f"view.push([Patch('response/content', 'SET', {MIXED!r}), Patch('response/status', 'SET', 'FINISHED')])\nview"
    )
    notebook = lab.notebook([show, show])
    for index in (0, 1):
        notebook.run(index)
        done = "document.querySelectorAll('.ssechat-answer')[argument]?.querySelectorAll('math').length === 2"
        notebook.wait_until(done, index)
    coloured = "document.querySelectorAll('.ssechat-hl-keyword').length"
    notebook.wait_until(f"{coloured} === 4")
    notebook.screenshot("markdown")
    assert notebook.errors == []
    assert notebook.strangers() == []


# ---- reading and copying ----


def test_a_selection_in_what_is_sealed_survives_the_rest_of_the_answer(answer: AnswerPage) -> None:
    answer.say("First **bold** words.\n\n- one\n- two\n\n", "A paragraph that")
    answer.js(
        """(() => {
        const items = answer().querySelectorAll("li");
        const [from, to] = [answer().querySelector("strong").firstChild, items[1].querySelector("p").firstChild];
        getSelection().setBaseAndExtent(from, 1, to, 2);
        window.kept = [...answer().querySelectorAll("p, li, strong")];
        })()"""
    )
    selected = answer.js("getSelection().toString()")
    assert "old words." in selected and "tw" in selected
    for count in range(60):
        answer.say(f" goes on {count} **and** on.\n\n", f"```python\nx = {count}\n```\n\n$x_{{{count}}}$ ")
    answer.end()
    assert answer.js("getSelection().toString()") == selected
    assert answer.js("kept.every((node) => node.isConnected)")


def test_focus_and_selection_in_the_open_paragraph_survive_its_growth(answer: AnswerPage) -> None:
    answer.say("See [the page](https://example.org/) and the words ")
    answer.js("answer().querySelector('a').focus()")
    answer.js(
        "((text) => getSelection().setBaseAndExtent(text, 1, text, 4))(answer().querySelector('p').lastChild)"
    )
    selected = answer.js("getSelection().toString()")
    answer.say(*("grow and *grow* " for _ in range(200)))
    assert answer.js("document.activeElement.href") == "https://example.org/"
    assert answer.js("getSelection().toString()") == selected == "and"


CODE = "def f():\n\treturn '好'\n\n" + "".join(f"line {number}  \n" for number in range(120))


def test_the_button_of_a_block_copies_the_code_exactly(answer: AnswerPage) -> None:
    answer.grant("clipboard-read", "clipboard-write")
    answer.say("```python\n", *CODE.splitlines(keepends=True), "```\n")
    answer.end()
    button = "answer().querySelector('.ssechat-code-copy')"
    assert answer.js(f"[{button}.tabIndex, {button}.getAttribute('aria-label')]") == [0, "Copy the code"]
    answer.js(f"{button}.focus()")
    answer.press("Enter")
    answer.wait(f"{button}.textContent === 'Copied'")
    assert answer.js("navigator.clipboard.readText()") == CODE.removesuffix("\n")


def test_a_selection_over_all_of_it_copies_clean_text(answer: AnswerPage) -> None:
    answer.say("# Title\n\nSome **bold** text.\n\n- one\n- two\n\n```\na\n\nb\n```\n\nend\n")
    answer.end()
    answer.js("getSelection().selectAllChildren(answer())")
    assert answer.js("getSelection().toString()").split() == [
        "Title",
        "Some",
        "bold",
        "text.",
        "one",
        "two",
        "a",
        "b",
        "end",
    ]
    assert "a\n\nb\n" in answer.js("getSelection().toString()")


def test_each_block_has_its_own_direction(answer: AnswerPage) -> None:
    answer.say("שלום world\n\nhello שלום\n\n- مرحبا\n\n> hi\n\n| שלום |\n|---|\n| b |\n\n```\nx\n```\n")
    answer.end()
    directions = """[...answer().querySelectorAll("p, ul, blockquote, table, pre")].map(
      (one) => one.nodeName + " " + getComputedStyle(one).direction)"""
    assert answer.js(directions) == [
        "P rtl",
        "P ltr",
        "UL rtl",
        "P rtl",
        "BLOCKQUOTE ltr",
        "P ltr",
        "TABLE rtl",
        "PRE ltr",
    ]


# ---- what it weighs ----


def test_what_rides_with_every_widget_and_what_comes_on_request_stay_small() -> None:
    def size(*names: str) -> int:
        return sum(len(gzip.compress((STATIC / name).read_bytes(), 9)) for name in names)

    assert size("widget.js", "widget.css") <= 60 * 1024
    assert size("extras.js") <= 130 * 1024


def test_the_bundle_names_no_other_host() -> None:
    for name in ("widget.js", "extras.js"):
        text = Path(STATIC / name).read_text("utf-8")
        assert not [
            host for host in ("cdn", "unpkg", "jsdelivr") if f"//{host}" in text or f"{host}." in text
        ], name
    assert json.loads((STATIC.parent.parent / "js" / "package.json").read_text())["dependencies"]
