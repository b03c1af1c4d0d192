"""What is published: values, names, tables of every kind."""
