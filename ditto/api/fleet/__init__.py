"""The HTTP API of `ditto serve`: pipelines, nodes, events of the whole cluster, whichever node is asked."""
