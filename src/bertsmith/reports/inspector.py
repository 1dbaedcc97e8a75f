"""The page of the inspector: its drawing code and one answer in a single file of HTML, offline."""

from html import escape
from importlib import resources

from bertsmith.core.runtime import PageLanguage

_TITLES = {"en": "Inside {}", "zh": "{} 的内部"}


def asset(name: str) -> str:
    """The text of a file in `reports/web`, which the playground serves as well."""
    return (resources.files("bertsmith.reports") / "web" / name).read_text(encoding="utf-8")


def inspector_page(answer: bytes, *, model: str, language: PageLanguage) -> str:
    """A page that draws `answer`, the JSON of an `Inspection`.

    Args:
        answer: JSON in UTF-8.
        model: what the user calls the model, for the heading.
        language: of headings and notes.
    """
    title = escape(_TITLES[language].format(model))
    # Inside a script element only "</" could end it too early.
    data = answer.decode().replace("</", "<\\/")
    script = asset("inspector.js")
    return f"""<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{asset("inspector.css")}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<div id="inspection"></div>
</main>
<script type="module">
{script}
drawInspection(document.getElementById("inspection"), {data}, "{language}");
</script>
</body>
</html>
"""
