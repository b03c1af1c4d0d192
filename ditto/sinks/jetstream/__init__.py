"""The sink that stores events in a NATS JetStream stream."""
