"""/models: the models on disk, as the last look at them found them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse

from api.pages.caches import TaskId, followed
from api.pages.site import Site, Visit
from api.ports import Operations
from api.texts import TEXTS
from core.models.words import finding_text, in_chinese


def model_pages(operations: Operations, site: Site) -> APIRouter:
    """Given the operations, return the route of the models' page."""
    router = APIRouter()
    here: Any = Depends(site.visit())

    @router.get("/models")
    def models(visit: Visit = here, task: TaskId = "") -> HTMLResponse:
        def values() -> Mapping[str, Any]:
            found, looked_at = operations.models()
            found = found or {}
            chinese = visit.language == "zh"
            return {
                **followed(operations, visit, task),
                "models": sorted(found.get("models", ()), key=lambda model: -model["disk_bytes"]),
                "disks": found.get("disks", ()),
                "disk_bytes": found.get("disk_bytes", 0),
                "skipped": found.get("skipped", ()),
                "looked_at": looked_at,
                "wrong": lambda finding: finding_text(finding["fault"], finding["detail"], chinese=chinese),
                "passed_over": in_chinese if chinese else str,
            }

        return site.answer(visit, "models.html", TEXTS[visit.language]["models_title"], values, action="models.list")

    return router
