"""Charts and self-contained HTML pages, in English and Chinese."""
