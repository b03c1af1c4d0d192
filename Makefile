# Each command sets up .venv by itself. Arguments: make demo ARGS="--seconds 30"
.PHONY: demo test lint bench
demo test lint bench:
	@scripts/$@ $(ARGS)
