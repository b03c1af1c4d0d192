"""The HTTP API of `ditto serve`: pipelines, nodes, events of the whole fleet, whichever node is asked."""
