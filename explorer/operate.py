"""What only an operator may do."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter()
