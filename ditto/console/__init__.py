"""The console of a fleet: pages for people, beside the API in the same process. Needs the extra `console`."""
