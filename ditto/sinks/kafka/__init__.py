"""Publishes to topics of Apache Kafka: one transaction for a group of blocks, with a record of how far it is."""
