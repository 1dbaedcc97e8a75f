"""The report of a fine-tuning, a page of HTML."""
