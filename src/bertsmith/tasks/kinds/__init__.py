"""The kinds of task, a file each."""
