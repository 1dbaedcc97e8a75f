"""File formats: one file each, which reads it as texts and as rows."""
