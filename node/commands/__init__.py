"""The commands on a node's home folder, a file for each noun; `node/__main__.py` puts them together."""
