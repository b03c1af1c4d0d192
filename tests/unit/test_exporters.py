"""Where metrics and traces are exported to."""

from __future__ import annotations

import pytest

from ditto.monitoring.exporters import is_otel_asked


@pytest.mark.parametrize(
    ("environ", "is_asked"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "x"}, False),
    ],
)
def test_opentelemetry_is_used_where_the_variables_ask_for_it(environ: dict[str, str], is_asked: bool) -> None:
    assert is_otel_asked(environ) == is_asked
