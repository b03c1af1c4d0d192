"""The table of pipelines: its rows are changed in place, see pipelines_table.js."""

from __future__ import annotations

from typing import Any, Final

from nicegui.element import Element

_PAGE_SIZE: Final = 100
COLUMNS: Final[list[dict[str, Any]]] = [
    {"name": "name", "label": "Pipeline", "field": "name", "align": "left", "sortable": True},
    {"name": "rank", "label": "State", "field": "rank", "align": "left", "sortable": True},
    {"name": "node", "label": "Node", "field": "node", "align": "left", "sortable": True},
    {"name": "sink", "label": "Sink", "field": "sink", "align": "left", "sortable": True},
    {"name": "lag", "label": "Lag", "field": "lag", "align": "right", "sortable": True},
    {"name": "rate", "label": "Events/s", "field": "rate", "align": "right", "sortable": True},
    {"name": "course", "label": "Last 10 minutes", "field": "name", "align": "left"},
    {"name": "retained", "label": "Retained WAL", "field": "retained", "align": "left", "sortable": True},
]


class PipelinesTable(Element, component="pipelines_table.js"):
    """One row a pipeline; `open` is its event with the name of one that was clicked on."""

    def __init__(self) -> None:
        super().__init__()
        self._props["columns"] = COLUMNS
        self._props["rows"] = []
        self._props["size"] = _PAGE_SIZE
        self.sort("rank", is_descending=False)

    def show(self, rows: list[dict[str, Any]]) -> None:
        """In place of those that were there."""
        self._props["rows"] = rows
        self.update()

    def sort(self, column: str, *, is_descending: bool) -> None:
        """By that column from now on."""
        self._props["sort_by"] = column
        self._props["descending"] = is_descending
        self.update()
