"""The commands, a file for each group; `cli` lists them."""
