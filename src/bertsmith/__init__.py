"""bertsmith: a BERT of your own, from raw text to a served model."""
