"""A fleet: nodes that share out pipelines between them, with a control plane in JetStream."""
