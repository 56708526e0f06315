"""The Model Context Protocol both ways: tools of other programs as ``Tool``s, our search and agents for theirs."""
