"""The commands of a checkout; see CONTRIBUTING."""
