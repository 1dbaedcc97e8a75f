"""The inspector's page: drawing code and data in one HTML file that works offline."""

from html import escape
from importlib import resources

from bertsmith.reports.language import current_language, t


def asset(name: str) -> str:
    """The text of a file in `reports/web`, which the playground serves too."""
    return (resources.files("bertsmith.reports") / "web" / name).read_text(encoding="utf-8")


def inspector_page(answer: bytes, *, model: str) -> str:
    """A page that draws `answer`, the JSON of an `Inspection` in UTF-8, in the current language.

    `model` is the name that the user gave; it stands in the heading.
    """
    language = current_language()
    title = escape(t("Inside {model}", model=model))
    # Inside a script element only "</" could end it early.
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
